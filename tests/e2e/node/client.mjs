// Drives the API with OpenAI's own Node client; exits 0 when all of it went well.
import assert from "node:assert/strict";
import { createReadStream } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
const require = createRequire(process.env.E2E_DIR + "/");
const { default: OpenAI } = await import(pathToFileURL(require.resolve("openai")));

const client = new OpenAI({ apiKey: "none", baseURL: process.env.BASE_URL, maxRetries: 0 });
const model = process.env.MODEL, train = process.env.TRAIN;
const ask = [{ role: "user", content: "Name one job in a hospital." }];

const models = (await client.models.list()).data.map((m) => m.id);
assert(models.includes(model));
assert.equal((await client.models.retrieve(model)).id, model);

const whole = await client.chat.completions.create({ model, messages: ask, temperature: 0, max_tokens: 12, logprobs: true, top_logprobs: 2 });
assert.equal(whole.object, "chat.completion");
assert.equal(whole.choices[0].logprobs.content[0].top_logprobs.length, 2);

let text = "", usage = null;
const stream = await client.chat.completions.create({ model, messages: ask, temperature: 0, max_tokens: 12, stream: true, stream_options: { include_usage: true } });
for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
}
assert.equal(text, whole.choices[0].message.content);
assert.deepEqual([usage.prompt_tokens, usage.completion_tokens], [whole.usage.prompt_tokens, whole.usage.completion_tokens]);

const tools = [{ type: "function", function: { name: "get_weather", parameters: { type: "object", properties: { days: { type: "integer", minimum: 1, maximum: 9 } }, required: ["days"], additionalProperties: false } } }];
const runner = client.chat.completions.stream({ model, messages: ask, tools, tool_choice: "required", parallel_tool_calls: false, temperature: 1.5, seed: 2, max_tokens: 60 });
const called = (await runner.finalChatCompletion()).choices[0];
assert.equal(called.finish_reason, "tool_calls");
const days = JSON.parse(called.message.tool_calls[0].function.arguments).days;
assert(called.message.tool_calls[0].function.name === "get_weather" && days >= 1 && days <= 9);

const completion = await client.completions.create({ model, prompt: "The nurse", max_tokens: 4, temperature: 0, echo: true });
assert(completion.choices[0].text.includes("The nurse"));

const embedding = await client.embeddings.create({ model, input: ["nurse", "teacher"] }); // base64 on the wire
assert.equal(embedding.data.length, 2);
assert(Math.abs(Math.hypot(...embedding.data[0].embedding) - 1) < 1e-5);

const file = await client.files.create({ file: createReadStream(train), purpose: "fine-tune" });
assert.equal((await client.files.retrieve(file.id)).bytes, file.bytes);
assert((await (await client.files.content(file.id)).text()).length === file.bytes);
const job = await client.fineTuning.jobs.create({ model, training_file: file.id, suffix: "node", method: { type: "supervised", supervised: { hyperparameters: { n_epochs: 1, batch_size: 4 } } } });
assert.equal(job.object, "fine_tuning.job");
let now = job;
for (let i = 0; i < 600 && !["succeeded", "failed", "cancelled"].includes(now.status); i++) {
    await new Promise((r) => setTimeout(r, 200));
    now = await client.fineTuning.jobs.retrieve(job.id);
}
assert.equal(now.status, "succeeded", JSON.stringify(now.error));
let events = 0;
for await (const e of client.fineTuning.jobs.listEvents(job.id)) events += e.object === "fine_tuning.job.event";
assert(events >= 5);
assert((await client.fineTuning.jobs.checkpoints.list(job.id)).data.length >= 1);
const tuned = await client.chat.completions.create({ model: now.fine_tuned_model, messages: ask, max_tokens: 4, temperature: 0 });
assert.equal(tuned.model, now.fine_tuned_model);
assert.equal((await client.models.delete(now.fine_tuned_model)).deleted, true);
await assert.rejects(client.chat.completions.create({ model: now.fine_tuned_model, messages: ask }), (e) => e.status === 404);
await assert.rejects(client.chat.completions.create({ model, messages: ask, temperature: 7 }), (e) => e.status === 400 && e.param === "temperature");
assert.equal((await client.files.delete(file.id)).deleted, true);
console.log("node client: all well");
