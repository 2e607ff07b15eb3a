// Assembles mlpconv/web/engine/kernel.wat into kernel.wasm: `npm run kernel`. With --check, only compares.

import { readFileSync, writeFileSync } from "node:fs";
import wabt from "wabt";

const source = new URL("../mlpconv/web/engine/kernel.wat", import.meta.url);
const target = new URL("../mlpconv/web/engine/kernel.wasm", import.meta.url);
const { parseWat } = await wabt();
const bytes = Buffer.from(parseWat("kernel.wat", readFileSync(source, "utf8")).toBinary({}).buffer);
if (!process.argv.includes("--check")) writeFileSync(target, bytes);
else if (!bytes.equals(readFileSync(target))) {
    console.error("kernel.wasm is not what kernel.wat assembles to: run `npm run kernel`");
    process.exit(1);
}
