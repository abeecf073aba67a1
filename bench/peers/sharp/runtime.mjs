// A small client of Lambda's runtime API, for index.mjs beside it. AWS's own for Node.js, aws-lambda-ric, compiles C++
// when it is installed; the API is three requests.
import http from "node:http";

const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(":");
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

function ask(method, path, value) {
  return new Promise((resolve, reject) => {
    const request = http.request({ host, port, agent, method, path: `/2018-06-01/runtime/${path}` }, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => {
        const body = Buffer.concat(chunks).toString();
        if (response.statusCode < 300) {
          resolve({ headers: response.headers, body });
        } else {
          reject(new Error(`${method} ${path}: ${response.statusCode} ${body}`));
        }
      });
    });
    request.on("error", reject);
    request.end(value === undefined ? undefined : JSON.stringify(value));
  });
}

function described(error) {
  const stack = String(error?.stack ?? "").split("\n").slice(1);
  return { errorType: error?.name ?? "Error", errorMessage: String(error?.message ?? error), stackTrace: stack };
}

// First the handler, as Lambda does it: what it takes to import is part of the cold start.
async function imported() {
  try {
    return (await import("./index.mjs")).handler;
  } catch (error) {
    console.error(error);
    await ask("POST", "init/error", described(error));
    process.exit(1);
  }
}

async function answered(handler, headers, body) {
  const id = headers["lambda-runtime-aws-request-id"];
  const deadline = Number(headers["lambda-runtime-deadline-ms"]);
  const context = { awsRequestId: id, getRemainingTimeInMillis: () => deadline - Date.now() };
  try {
    return [`invocation/${id}/response`, (await handler(JSON.parse(body), context)) ?? null];
  } catch (error) {
    console.error(error);
    return [`invocation/${id}/error`, described(error)];
  }
}

const handler = await imported();
for (;;) {
  const { headers, body } = await ask("GET", "invocation/next");
  await ask("POST", ...(await answered(handler, headers, body)));
}
