// Python programs that answer calls, to drive LiveKit's Python packages.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const interpreter = process.env.MILLRACE_PYTHON ?? join(here, '../../../target/python/bin/python');

/// Why Python programs cannot run, or null.
export function whyNoPython() {
  if (existsSync(interpreter)) return null;
  return `${interpreter} is missing: \`cargo xtask install\` makes it`;
}

/// Starts tests/browser/python/`program`. `call(method, ...arguments)` gives what the method
/// returns, or throws its error with `kind`, `code` and `status`.
export function startPython(program) {
  const child = spawn(interpreter, [join(here, '../python', program)], {
    stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1' },
  });
  const waiting = new Map();
  const log = [];
  let calls = 0;
  createInterface({ input: child.stderr }).on('line', (line) => log.push(line));
  createInterface({ input: child.stdout }).on('line', (line) => {
    const { id, value, error } = JSON.parse(line);
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error) reject(Object.assign(new Error(`${program}: ${error.kind}: ${error.message}`), error));
    else resolve(value);
  });
  const exit = new Promise((resolve) => child.on('close', resolve));
  exit.then((code) => {
    for (const { reject } of waiting.values()) {
      reject(new Error(`${program} ended with ${code}: ${log.slice(-5).join(' | ')}`));
    }
  });
  return {
    log,
    call: (method, ...args) => new Promise((resolve, reject) => {
      calls += 1;
      waiting.set(calls, { resolve, reject });
      child.stdin.write(`${JSON.stringify({ id: calls, method, arguments: args })}\n`);
    }),
    async close() {
      child.kill('SIGKILL');
      await exit;
    },
  };
}
