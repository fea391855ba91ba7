// Outputs its payload in upper case. The status 422 fails the job for good, 503 requests a retry.

addEventListener("fetch", (event) => {
  const handled = event as FetchEvent;
  handled.respondWith(answer(handled.request));
});

async function answer(request: Request): Promise<Response> {
  const text = await request.text();
  return new Response(text.toUpperCase());
}
