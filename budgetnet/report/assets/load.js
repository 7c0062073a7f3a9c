// What is large is kept compressed: the data of the page, and then its code, which runs as any
// other script of the page only if its digest is allowed.

const unpacked = async (id) => {
  const packed = Uint8Array.from(atob(document.getElementById(id).textContent), (sign) => sign.charCodeAt(0));
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate'))).text();
};

async function start() {
  for (const id of ['account', 'view']) document.getElementById(id).textContent = await unpacked(id);
  const script = document.createElement('script');
  script.textContent = await unpacked('code');
  document.body.append(script);
  document.documentElement.dataset.ready = performance.now();
}

if ('DecompressionStream' in window) start();
else document.querySelector('footer p').append(' It needs a browser of 2023 or later to be used.');
