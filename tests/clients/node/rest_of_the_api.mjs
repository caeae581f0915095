// What else a model is used through, with the official Node client: responses, stored completions, batches.
// Fails with the first thing that is not as OpenAI's API has it. Usage: node rest_of_the_api.mjs MODEL

import assert from "node:assert/strict";
import OpenAI, { toFile } from "openai";

const [model] = process.argv.slice(2);
const client = new OpenAI({ maxRetries: 0 }); // OPENAI_BASE_URL and OPENAI_API_KEY
const asked = { model, temperature: 0 };
const messages = [{ role: "user", content: "Hello" }];
const schema = {
  type: "object",
  properties: { city: { type: "string", maxLength: 5 } },
  required: ["city"],
  additionalProperties: false,
};

async function collect(pages) {
  const all = [];
  for await (const each of pages) all.push(each);
  return all;
}

const response = await client.responses.create({ ...asked, input: "Hello", metadata: { client: "node" } });
assert.deepEqual((await client.responses.retrieve(response.id)).output, response.output);
assert.deepEqual((await collect(client.responses.inputItems.list(response.id))).map((item) => item.role), ["user"]);
const counted = await client.responses.inputTokens.count({ model, input: "Hello" });
assert.equal(counted.input_tokens, response.usage.input_tokens);

const further = client.responses.stream({ ...asked, input: "And now?", previous_response_id: response.id });
const types = (await collect(further)).map((event) => event.type);
assert.deepEqual([types[0], types.at(-1)], ["response.created", "response.completed"]);
assert.equal((await collect(client.responses.inputItems.list((await further.finalResponse()).id))).length, 3);

let later = await client.responses.create({ ...asked, input: "Hello", background: true });
assert.equal(later.status, "queued");
while (["queued", "in_progress"].includes(later.status)) later = await client.responses.retrieve(later.id);
assert.equal(later.output_text, response.output_text);

const tools = [{ type: "function", name: "weather", strict: true, parameters: schema }];
const called = await client.responses.create({ ...asked, input: "Weather?", tools, tool_choice: "required" });
assert.equal(typeof JSON.parse(called.output[0].arguments).city, "string");
const format = { type: "json_schema", name: "place", strict: true, schema };
const parsed = await client.responses.parse({ ...asked, input: "Where?", text: { format } });
assert.equal(typeof parsed.output_parsed.city, "string");

await client.responses.delete(response.id);
await assert.rejects(client.responses.retrieve(response.id), (error) => error instanceof OpenAI.NotFoundError);

const kept = await client.chat.completions.create({ ...asked, messages, store: true, metadata: { client: "node" } });
const stored = await collect(client.chat.completions.list({ metadata: { client: "node" }, limit: 1 }));
assert.deepEqual(stored.map((completion) => completion.id), [kept.id]);
assert.deepEqual(
  (await collect(client.chat.completions.messages.list(kept.id))).map((message) => message.content),
  ["Hello"],
);
const renamed = await client.chat.completions.update(kept.id, { metadata: { client: "another" } });
assert.deepEqual(renamed.metadata, { client: "another" });
assert.equal((await client.chat.completions.delete(kept.id)).deleted, true);
const helped = client.chat.completions.stream({ ...asked, messages });
assert.equal(await helped.finalContent(), kept.choices[0].message.content);

const lines = [...Array(5).keys()].map((n) =>
  JSON.stringify({ custom_id: `line ${n}`, method: "POST", url: "/v1/chat/completions", body: { ...asked, messages } }),
);
const file = await client.files.create({
  file: await toFile(Buffer.from(lines.join("\n")), "batch.jsonl"),
  purpose: "batch",
});
const created = await client.batches.create({
  input_file_id: file.id,
  endpoint: "/v1/chat/completions",
  completion_window: "24h",
  metadata: { client: "node" },
});
let batch = created;
while (!["completed", "failed", "expired", "cancelled"].includes(batch.status)) {
  await new Promise((done) => setTimeout(done, 200));
  batch = await client.batches.retrieve(created.id);
}
assert.deepEqual([batch.status, batch.request_counts], ["completed", { total: 5, completed: 5, failed: 0 }]);
const output = (await (await client.files.content(batch.output_file_id)).text()).trimEnd().split("\n").map(JSON.parse);
assert.deepEqual(new Set(output.map((line) => line.custom_id)).size, 5);
for (const line of output)
  assert.equal(line.response.body.choices[0].message.content, kept.choices[0].message.content);
await assert.rejects(client.batches.cancel(batch.id), (error) => error instanceof OpenAI.APIError);
assert.ok((await collect(client.batches.list({ limit: 1 }))).some((each) => each.id === batch.id));

const endpoint = await client.webhooks.create({
  name: "node",
  url: "https://example.com/hook",
  event_types: ["batch.completed"],
});
const body = JSON.stringify({ id: "evt_1", object: "event", type: "batch.completed", data: { id: batch.id } });
await assert.rejects(client.webhooks.unwrap(body, { "webhook-id": "x" }, endpoint.signing_secret));
assert.equal((await client.webhooks.delete(endpoint.id)).deleted, true);
console.log("all of it is there");
