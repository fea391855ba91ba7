// Sends a GET to the address in its payload.

addEventListener("fetch", (event) => {
  const handled = event as FetchEvent;
  handled.respondWith(answer(handled.request));
});

async function answer(request: Request): Promise<Response> {
  const address = await request.text();
  try {
    const response = await fetch(address);
    return new Response(`${response.status} ${await response.text()}`);
  } catch (error) {
    return new Response(String(error), { status: 422 });
  }
}
