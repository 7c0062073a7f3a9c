"""What people see: the tables, letter by letter."""

import csv
import io
from html.parser import HTMLParser

import pytest

from budgetnet import account, models, plan
from budgetnet.accounting.table import Column, Table

S6_TEXT = """\
s6  (input 1x28x28)
 Layer       Kind                          Kernel / stride / pad     Output         RF   Jump   Params     Share        MACs
 ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
 conv1       Conv2d + BatchNorm2d + ReLU   3x3 / 1 / 0             16x26x26          3      1      176     1.2 %      97,344
 conv2       Conv2d + BatchNorm2d + ReLU   3x3 / 1 / 0             16x24x24          5      1    2,336    16.3 %   1,327,104
 conv3       Conv2d + BatchNorm2d + ReLU   3x3 / 1 / 0             16x22x22          7      1    2,336    16.3 %   1,115,136
 conv4       Conv2d + BatchNorm2d + ReLU   3x3 / 1 / 0             16x20x20          9      1    2,336    16.3 %     921,600
 pool1       MaxPool2d                     2x2 / 2 / 0             16x10x10         10      2
 conv5       Conv2d + BatchNorm2d + ReLU   3x3 / 1 / 0               16x8x8         14      2    2,336    16.3 %     147,456
 conv6       Conv2d + BatchNorm2d + ReLU   3x3 / 1 / 0               16x6x6         18      2    2,336    16.3 %      82,944
 conv7       Conv2d + BatchNorm2d + ReLU   3x3 / 1 / 0               16x4x4         22      2    2,336    16.3 %      36,864
 head.conv   Conv2d + BatchNorm2d          1x1 / 1 / 0               10x4x4         22      2      180     1.3 %       2,560
 head.pool   GlobalAveragePool                                           10   28 (all)      -
 Total                                                                   10         22      2   14,372   100.0 %   3,731,008
58,528 bytes of weights and buffers, at most 120,128 bytes of activations at once"""  # noqa: E501 - a golden text


def test_the_table_of_the_reference_network():
    assert S6_TEXT == str(plan(models.get_reference("s6").spec, (1, 28, 28), name="s6"))
    assert S6_TEXT == str(account(models.get_model("s6"), (1, 28, 28), name="s6"))


def test_markdown_and_csv_hold_the_same_cells():
    table = plan("c4 p gap10", (1, 12, 12)).to_table()
    lines = table.to_markdown().splitlines()
    body = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    assert [[column.name for column in table.columns]] == body[:1]
    assert list(map(list, table.rows)) == body[2:-1]
    read = list(csv.reader(io.StringIO(table.to_csv())))
    assert [[column.name for column in table.columns], *map(list, table.rows)] == read


@pytest.mark.parametrize("text", ["a|b", "[bold]x[/bold]", "back\\slash", ":smile:"])
def test_no_cell_is_read_as_markup(text):
    table = Table((Column("Name"), Column("N", numeric=True)), ((text, "1"),))
    assert text in table.to_text()
    assert text.replace("\\", "\\\\").replace("|", "\\|") in table.to_markdown()
    assert [text, "1"] == list(csv.reader(io.StringIO(table.to_csv())))[1]


class Cells(HTMLParser):
    """The texts of a page's elements, by their tags."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.found, self.open = [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert tag == self.open.pop()

    def handle_data(self, data):
        self.found.append((self.open[-1], data))


@pytest.mark.parametrize("name", ["s6", "<b>&amp;</table>"])
def test_a_notebook_shows_the_same_cells(name):
    planned = plan("c16 p gap10", (1, 28, 28), name=name)
    table = planned.to_table()
    cells = [("caption", table.title), *(("th", column.name) for column in table.columns)]
    cells += [("td", cell) for row in table.rows for cell in row if cell]
    cells += [("th", cell) for cell in table.totals if cell] + [("p", n) for n in table.notes]
    assert cells == Cells(planned._repr_html_()).found
