// Outputs its payload in upper case. The status 422 fails the job for good, 503 requests a retry.

addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const text = await request.text();
  return new Response(text.toUpperCase());
}
