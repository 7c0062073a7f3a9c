"""Keep one comment with the verdicts on a pull request: `comment.py FILE CONFIG`, for action.yml.

Reads what GitHub sets, and TOKEN. A token that may not write, as in a pull request from a fork,
leaves a note in the log: the job's summary says the same, and the verdict does not depend on this.
"""

import json
import os
import sys
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

LONGEST = 60_000  # characters; GitHub takes 65,536


def main(file, config):
    """Write the comment; returns why there is none, or ""."""
    event = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))
    number = event.get("pull_request", {}).get("number")
    if number is None:
        return "this run is of no pull request"
    mark = f"<!-- budgetnet check {quote(config)} -->"
    text = Path(file).read_text(encoding="utf-8")
    if len(text) > LONGEST:
        text = text[:LONGEST].rpartition("\n")[0] + "\n\nThe job's summary has the rest."
    comments = f"/repos/{os.environ['GITHUB_REPOSITORY']}/issues"
    body = {"body": f"{mark}\n### budgetnet\n\n{text}"}
    try:
        known = find(f"{comments}/{number}/comments", mark)
        if known is None:
            call("POST", f"{comments}/{number}/comments", body)
        else:
            call("PATCH", f"{comments}/comments/{known}", body)
    except HTTPError as error:
        return f"the token may not, or GitHub refused: {error.code} {error.reason}"
    except (OSError, HTTPException, ValueError) as error:
        return f"GitHub was not reached: {error}"
    return ""


def find(path, mark):
    """The number of the comment that an earlier run left, if there is one."""
    page = 1
    while comments := call("GET", f"{path}?per_page=100&page={page}"):
        for comment in comments:
            if (comment["body"] or "").startswith(mark):
                return comment["id"]
        page += 1
    return None


def call(method, path, content=None):
    """What GitHub's interface answers."""
    request = Request(
        os.environ["GITHUB_API_URL"] + path,
        data=None if content is None else json.dumps(content).encode(),
        method=method,
        headers={
            "Authorization": f"Bearer {os.environ['TOKEN']}",
            "Accept": "application/vnd.github+json",
            "Content-Type": "application/json",
        },
    )
    with urlopen(request, timeout=30) as answer:
        return json.load(answer)


if __name__ == "__main__":
    if why := main(*sys.argv[1:]):
        print(f"::notice title=budgetnet::no comment was written: {' '.join(why.split())}")
