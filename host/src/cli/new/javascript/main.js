// Answers its payload in capitals. A status of 422 fails for good, 503 asks for another attempt.

addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const text = await request.text();
  return new Response(text.toUpperCase());
}
