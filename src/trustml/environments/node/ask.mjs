// Opens one model of TensorFlow.js or ONNX, and answers what is asked on standard input, a line of JSON each:
// {"kind", "path"} first, then {"input", "shape", "output"} with "columns" where gradients are wanted. Tensors are
// files of float32. What cannot be done is answered by {"problem"}, an operator without a gradient by {"none"}.
// Libraries are those of the folder that is named.
import fs from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';
import { createRequire } from 'node:module';

const libraries = createRequire(path.join(path.resolve(process.argv[2]), 'package.json'));
// What compares is constant but for where it jumps: TensorFlow.js has no gradient of it, and others say 0.
const COMPARING = ['Equal', 'NotEqual', 'Less', 'LessEqual', 'Greater', 'GreaterEqual'];

function bytesOf(name) {
  const read = fs.readFileSync(name);
  return read.buffer.slice(read.byteOffset, read.byteOffset + read.length);
}

async function openTensorFlow(folder) {
  const tf = libraries('@tensorflow/tfjs');
  tf.env().set('PROD', true);
  await tf.setBackend('cpu');
  for (const kernelName of COMPARING) {
    const zero = (like) => tf.zerosLike(like);
    const gradFunc = (_, saved) => ({ a: () => zero(saved[0]), b: () => zero(saved[1]) });
    tf.registerGradient({ kernelName, inputsToSave: ['a', 'b'], gradFunc });
  }
  const found = JSON.parse(fs.readFileSync(path.join(folder, 'model.json'), 'utf8'));
  const groups = found.weightsManifest;
  const parts = groups.flatMap((group) => group.paths.map((name) => fs.readFileSync(path.join(folder, name))));
  const whole = Buffer.concat(parts);
  const model = await tf.loadGraphModel({
    load: async () => ({
      ...found,
      weightSpecs: groups.flatMap((group) => group.weights),
      weightData: whole.buffer.slice(whole.byteOffset, whole.byteOffset + whole.length),
    }),
  });
  const one = (outputs) => (Array.isArray(outputs) ? outputs[0] : outputs);
  return {
    statement: (found.userDefinedMetadata || {})['trustml.json'] || '',
    ask: async (values, shape) => {
      tf.engine().startScope();
      const inputs = tf.tensor(values, shape);
      const output = one(model.predict(inputs));
      const answer = { values: output.dataSync(), shape: output.shape };
      tf.engine().endScope();
      return answer;
    },
    gradients: async (values, shape, columns) => tf.tidy(() => {
      const score = (inputs) => {
        const outputs = one(model.predict(inputs));
        return tf.sum(tf.mul(outputs, tf.oneHot(tf.tensor1d(columns, 'int32'), outputs.shape[1])));
      };
      const found = tf.grad(score)(tf.tensor(values, shape));
      return { values: found.dataSync(), shape };
    }),
  };
}

async function openOnnx(file) {
  const ort = libraries('onnxruntime-web');
  ort.env.wasm.numThreads = 1;
  const session = await ort.InferenceSession.create(new Uint8Array(bytesOf(file)), { executionProviders: ['wasm'] });
  return {
    statement: '',
    ask: async (values, shape) => {
      const inputs = { [session.inputNames[0]]: new ort.Tensor('float32', values, shape) };
      const output = (await session.run(inputs))[session.outputNames[0]];
      return { values: output.data, shape: output.dims };
    },
  };
}

let opened;

async function answered(asked) {
  if (asked.kind) {
    opened = await { tfjs: openTensorFlow, onnx: openOnnx }[asked.kind](asked.path);
    return { statement: opened.statement };
  }
  const values = new Float32Array(bytesOf(asked.input));
  const call = asked.columns ? opened.gradients : opened.ask;
  const { values: found, shape } = await call(values, asked.shape, asked.columns);
  const floats = Float32Array.from(found);
  fs.writeFileSync(asked.output, Buffer.from(floats.buffer, floats.byteOffset, floats.byteLength));
  return { shape: Array.from(shape) };
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  let answer;
  try {
    answer = await answered(JSON.parse(line));
  } catch (error) {
    const told = String(error && error.message ? error.message : error);
    answer = { problem: told.split('\n')[0].slice(0, 300) };
    if (/gradient function not found/.test(told)) answer = { none: true };
  }
  process.stdout.write(`trustml ${JSON.stringify(answer)}\n`);
}
