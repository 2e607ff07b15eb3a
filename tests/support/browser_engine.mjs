// Runs the browser engine in Node for the tests: requests as JSON lines on standard input, answers on standard output.
// Arrays of bytes are in base64, as are float32 arrays.

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { Classifier } from "../../mlpconv/web/engine/classifier.js";
import { KINDS, rowsOf } from "../../mlpconv/web/engine/network.js";
import { background, onWhite, readPixels, readPreprocess, squared } from "../../mlpconv/web/engine/pixels.js";
import { Program } from "../../mlpconv/web/engine/program.js";
import { fillInput, resizeBytes } from "../../mlpconv/web/engine/resize.js";
import { decodeBase64, fromFloat16 } from "../../mlpconv/web/engine/tensors.js";

const kernel = new WebAssembly.Module(readFileSync(new URL("../../mlpconv/web/engine/kernel.wasm", import.meta.url)));
const text = (array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString("base64");
let classifier;

const commands = {
    // A classifier file, with or without the WebAssembly kernel.
    load({ path, wasm }) {
        classifier = new Classifier(new Uint8Array(readFileSync(path)), wasm ? kernel : null);
        return { classes: classifier.classNames.length };
    },
    // Images (count, height, width, channels).
    images({ values, height, width, channels, repeat = 1 }) {
        const all = decodeBase64(values);
        const size = height * width * channels;
        const logits = [],
            probabilities = [];
        const start = performance.now();
        for (let turn = 0; turn < repeat; turn++)
            for (let at = 0; at < all.length; at += size) {
                const answer = classifier.classifyImage({
                    values: all.subarray(at, at + size),
                    width,
                    height,
                    channels,
                });
                if (turn) continue;
                logits.push(...answer.logits);
                probabilities.push(...answer.probabilities);
            }
        const milliseconds = (performance.now() - start) / repeat;
        return { logits, probabilities, milliseconds, bytes: process.memoryUsage().arrayBuffers };
    },
    // A network on one input (height, width, channels); weights and input as float32.
    network({ network, weights, input, wasm }) {
        const floats = (value) => new Float32Array(decodeBase64(value).buffer);
        const program = new Program(rowsOf(JSON.parse(network)), (name) => floats(weights[name]), wasm ? kernel : null);
        const given = floats(input);
        program.input.set(given);
        const first = program.run().slice();
        program.input.set(given);
        const second = program.run();
        if (!first.every((value, k) => Object.is(value, second[k]))) throw new Error("the second result differs");
        return { output: text(first) };
    },
    kinds() {
        return { kinds: KINDS };
    },
    // A decoded picture (height, width, 4).
    picture({ values, height, width, invert }) {
        const { logits, maps, seen, looksInverted } = classifier.classify(
            { values: decodeBase64(values), width, height },
            invert,
        );
        const placed = maps && { ...maps, values: [...maps.values] };
        return {
            logits: [...logits],
            maps: placed,
            seen: text(seen.values),
            shape: [seen.height, seen.width, seen.channels],
            looksInverted,
        };
    },
    pixels({ values, height, width, preprocess }) {
        const image = readPixels(decodeBase64(values), width, height, readPreprocess(preprocess));
        return { values: text(image.values), shape: [image.height, image.width, image.channels] };
    },
    resize({ values, height, width, channels, size: [tall, wide], filter }) {
        return {
            values: text(
                resizeBytes({ values: decodeBase64(values), width, height, channels }, wide, tall, filter).values,
            ),
        };
    },
    input({ values, height, width, channels, preprocess }) {
        const settings = readPreprocess(preprocess);
        const input = new Float32Array(settings.size ** 2 * channels);
        fillInput(
            squared({ values: decodeBase64(values), width, height, channels }, settings.fit, "numpy"),
            input,
            settings,
        );
        return { values: text(input) };
    },
    background({ values, height, width, channels }) {
        return { background: background({ values: decodeBase64(values), width, height, channels }) };
    },
    composite() {
        return { values: text(Uint8Array.from({ length: 65536 }, (_, k) => onWhite(k & 255, k >> 8))) };
    },
    halves() {
        return { values: text(fromFloat16(Uint16Array.from({ length: 65536 }, (_, k) => k))) };
    },
};

for await (const line of createInterface({ input: process.stdin })) {
    const { command, ...request } = JSON.parse(line);
    let answer;
    try {
        answer = commands[command](request);
    } catch (error) {
        answer = { error: error.message };
    }
    process.stdout.write(JSON.stringify(answer) + "\n");
}
