// Answers its payload in capitals. A status of 422 fails for good, 503 asks for another attempt.

addEventListener("fetch", (event) => {
  const handled = event as FetchEvent;
  handled.respondWith(answer(handled.request));
});

async function answer(request: Request): Promise<Response> {
  const text = await request.text();
  return new Response(text.toUpperCase());
}
