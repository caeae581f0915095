// The journey of a fine-tuned model with the official Node client: files, job, events, result, chat, delete.
// Fails with the first thing that is not as OpenAI's API has it. Usage: node journey.mjs TRAINING_FILE BASE_MODEL

import assert from "node:assert/strict";
import fs from "node:fs";
import OpenAI from "openai";

const [trainingPath, base] = process.argv.slice(2);
const client = new OpenAI({ maxRetries: 0 }); // OPENAI_BASE_URL and OPENAI_API_KEY
const messages = [{ role: "user", content: "Hello" }];

let file = await client.files.create({ file: fs.createReadStream(trainingPath), purpose: "fine-tune" });
while (file.status !== "processed") file = await client.files.retrieve(file.id);
assert.equal(file.bytes, fs.statSync(trainingPath).size);
const listed = [];
for await (const each of client.files.list({ purpose: "fine-tune", limit: 1 })) {
  listed.push(each.id);
  if (listed.length > 1) break;
}
assert.equal(listed[0], file.id);

const created = await client.fineTuning.jobs.create({
  model: base,
  training_file: file.id,
  suffix: "node",
  metadata: { client: "node" },
  method: { type: "supervised", supervised: { hyperparameters: { n_epochs: 1, batch_size: 4 } } },
});
assert.equal(created.status, "validating_files");

const seen = new Map();
let job = created;
while (["validating_files", "queued", "running"].includes(job.status)) {
  job = await client.fineTuning.jobs.retrieve(created.id);
  const page = await client.fineTuning.jobs.listEvents(created.id, { limit: 100 });
  for (const event of page.data.reverse()) seen.set(event.id, event);
  await new Promise((done) => setTimeout(done, 300));
}
assert.equal(job.status, "succeeded", JSON.stringify(job.error));
for await (const event of client.fineTuning.jobs.listEvents(created.id, { limit: 3 })) seen.set(event.id, event);
const steps = [...seen.values()].filter((event) => event.type === "metrics").map((event) => event.data.step);
assert.deepEqual(steps.sort((a, b) => a - b), [...Array(5).keys()].map((step) => step + 1));
const mine = await client.fineTuning.jobs.list({ metadata: { client: "node" } });
assert.equal(mine.data[0].id, created.id);

const checkpoints = await client.fineTuning.jobs.checkpoints.list(created.id);
assert.equal(checkpoints.data[0].fine_tuned_model_checkpoint, job.fine_tuned_model);
const result = await (await client.files.content(job.result_files[0])).text();
assert.equal(result.split("\n")[0], "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy");

const model = await client.models.retrieve(job.fine_tuned_model);
assert.equal(model.id, job.fine_tuned_model);
const whole = await client.chat.completions.create({ model: model.id, messages, max_tokens: 8, temperature: 0 });
assert.equal(whole.model, model.id);
const stream = await client.chat.completions.create({
  model: model.id,
  messages,
  max_tokens: 8,
  temperature: 0,
  stream: true,
});
let text = "";
for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
assert.equal(text, whole.choices[0].message.content);

for (const prompt of [["Hello there", "Goodbye"], [[5, 6, 7], [8]]]) {
  const asked = { model: model.id, prompt, max_tokens: 4, temperature: 0 };
  const completion = await client.completions.create({ ...asked, logprobs: 2 });
  assert.equal(completion.choices[0].logprobs.tokens.length, completion.choices[0].logprobs.top_logprobs.length);
  const texts = ["", ""];
  for await (const chunk of await client.completions.create({ ...asked, stream: true }))
    for (const choice of chunk.choices) texts[choice.index] += choice.text;
  assert.deepEqual(texts, completion.choices.map((choice) => choice.text));
}

await assert.rejects(client.fineTuning.jobs.cancel(created.id), (error) => error instanceof OpenAI.BadRequestError);
await assert.rejects(client.files.retrieve("file-nothing"), (error) => error instanceof OpenAI.NotFoundError);
assert.equal((await client.models.delete(model.id)).deleted, true);
await assert.rejects(
  client.chat.completions.create({ model: model.id, messages }),
  (error) => error instanceof OpenAI.NotFoundError && error.code === "model_not_found",
);
assert.equal((await client.files.delete(file.id)).deleted, true);
console.log(`the journey is over: ${job.fine_tuned_model}`);
