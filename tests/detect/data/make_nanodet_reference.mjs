// Runs the original NanoDet-g graph in TensorFlow.js; make_nanodet_reference.py calls it.
//   node make_nanodet_reference.mjs nanodet.json input.f32 output-folder
// input.f32 holds 1x3x416x416 little-endian floats; every output goes to CELLSxCHANNELS.f32.
// The packages are looked for where the command runs, not beside this file.

import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.join(process.cwd(), "package.json"));
const tf = require("@tensorflow/tfjs-core");
require("@tensorflow/tfjs-backend-cpu");
const { loadGraphModel } = require("@tensorflow/tfjs-converter");

const SHAPE = [1, 3, 416, 416];
const [graphPath, inputPath, outputFolder] = process.argv.slice(2);

const floats = (file) => new Float32Array(new Uint8Array(fs.readFileSync(file)).buffer);

await tf.setBackend("cpu");
const { modelTopology, signature, format, weightsManifest } = JSON.parse(fs.readFileSync(graphPath));
const [group] = weightsManifest;
const parts = group.paths.map((name) => fs.readFileSync(path.join(path.dirname(graphPath), name)));
const weightData = new Uint8Array(Buffer.concat(parts)).buffer;
const artifacts = { modelTopology, signature, format, weightSpecs: group.weights, weightData };
const model = await loadGraphModel({ load: async () => artifacts });

const outputs = model.execute({ input_1: tf.tensor(floats(inputPath), SHAPE, "float32") });
for (const output of outputs) {
  const [, cells, channels] = output.shape; // 80 channels: scores after the sigmoid; 44: raw bins
  const file = path.join(outputFolder, `${cells}x${channels}.f32`);
  fs.writeFileSync(file, Buffer.from(new Float32Array(output.dataSync()).buffer));
}
