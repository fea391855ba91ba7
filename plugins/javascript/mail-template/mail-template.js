// Fills in an e-mail template: a JSON request with template and values, a JSON response with the mail.

addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

class Fault extends Error {}

async function answer(request) {
  try {
    const { subject, text, values } = parse(await request.text());
    return Response.json({ to: lookup(values, "to"), subject: fill(subject, values), text: fill(text, values) });
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    console.error(error.message);
    return new Response(error.message, { status: 422 });
  }
}

function parse(body) {
  let payload;
  try {
    payload = JSON.parse(body);
  } catch (error) {
    throw new Fault(`the payload is not JSON: ${error.message}`);
  }
  for (const [name, type] of [["subject", "string"], ["text", "string"], ["values", "object"]]) {
    if (typeof payload?.[name] !== type || payload[name] === null) throw new Fault(`\`${name}\` must be a ${type === "object" ? "JSON object" : type}`);
  }
  return payload;
}

/** `{{#each orders}}…{{/each}}` repeats what is between, `{{customer.name}}` is a value. */
function fill(template, values) {
  return template
    .replace(/\{\{#each ([\w.]+)\}\}(.*?)\{\{\/each\}\}/gs, (_, path, part) => {
      const items = lookup(values, path);
      if (!Array.isArray(items)) throw new Fault(`\`${path}\` is no list`);
      return items.map((item) => fill(part, { ...values, ...item })).join("");
    })
    .replace(/\{\{([\w.]+)\}\}/g, (_, path) => String(lookup(values, path)));
}

/** Only own properties of the values: a template must not access `constructor`. */
function lookup(values, path) {
  return path.split(".").reduce((value, name) => {
    if (value === null || typeof value !== "object" || !Object.hasOwn(value, name)) throw new Fault(`there is no value \`${path}\``);
    return value[name];
  }, values);
}
