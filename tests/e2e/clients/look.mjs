// One question by an official SDK, which runs the tool `look` itself: `node look.mjs anthropic|openai QUESTION`.
import { readFileSync } from "node:fs";
import { argv, env, exit } from "node:process";
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const [sdk, question] = argv.slice(2);
const model = env.PORTICO_MODEL;
const messages = [{ role: "user", content: question }];
const name = "look";
const description = "Read a file";
const schema = { type: "object", properties: { file: { type: "string" } }, required: ["file"] };
const look = ({ file }) => readFileSync(file, "utf8");

async function byAnthropic() {
  const tools = [{ type: "custom", name, description, input_schema: schema, run: look, parse: (input) => input }];
  const message = await new Anthropic().beta.messages.toolRunner({ model, max_tokens: 100, messages, tools, stream: false });
  return message.content[0].text;
}

async function byOpenAI() {
  const called = { name, description, parameters: schema, parse: JSON.parse, function: look };
  const tools = [{ type: "function", function: called }];
  return await new OpenAI().chat.completions.runTools({ model, messages, tools, stream: true }).finalContent();
}

try {
  console.log(await (sdk === "anthropic" ? byAnthropic() : byOpenAI()));
} catch (error) {
  console.error(error.message);
  exit(1);
}
