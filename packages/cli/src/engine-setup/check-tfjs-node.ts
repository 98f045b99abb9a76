import { reason, runProcess } from './run-process.js';
import { EngineSetupError } from './setup-error.js';

/**
 * Loads tfjs-node from a folder and computes a product and a gradient with known results. It runs in a separate
 * process, because an incompatible library can end the process.
 */
const program = `
const util = require('node:util');
util.isNullOrUndefined ??= (value) => value == null;
util.isArray ??= Array.isArray;
const tf = require(process.argv[1] + '/node_modules/@tensorflow/tfjs-node');
if (tf.getBackend() !== 'tensorflow') throw new Error('the backend is ' + tf.getBackend());
const weight = tf.tensor2d([1, 2, 3, 4], [2, 2]);
const product = (x) => tf.matMul(x, weight, false, true);
const x = tf.tensor2d([5, 6, 7, 8], [2, 2]);
const results = [...product(x).dataSync(), ...tf.grad((v) => tf.sum(tf.square(product(v))))(x).dataSync()];
const expected = [17, 39, 23, 53, 268, 380, 364, 516];
if (results.join() !== expected.join()) throw new Error('computed ' + results.join() + ', expected ' + expected.join());
console.log('TensorFlow ' + tf.backend().binding.TF_Version);
`;

/**
 * Checks that the native backend in `folder` loads and computes.
 * @returns its version of TensorFlow
 * @throws EngineSetupError with the result that it got instead
 */
export async function checkTfjsNode(folder: string, signal: AbortSignal): Promise<string> {
  const result = await runProcess(process.execPath, ['-e', program, folder], { signal, timeoutSeconds: 120 });
  const version = /^TensorFlow (.+)$/m.exec(result.out)?.[1];
  if (result.code === 0 && version) return version;
  throw new EngineSetupError(`${folder}: tfjs-node does not compute: ${reason(result)}`);
}
