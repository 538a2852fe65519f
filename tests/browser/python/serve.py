"""Answers calls that come as lines of JSON: {id, method, arguments} gets {id, value} or {id, error}."""

import asyncio
import json
import sys


async def serve(target) -> None:
    """Calls methods of `target` until standard input ends. Calls run at once, not in turn."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    running = set()
    while line := await reader.readline():
        task = asyncio.create_task(answer(target, json.loads(line)))
        running.add(task)
        task.add_done_callback(running.discard)


async def answer(target, call) -> None:
    try:
        value = await getattr(target, call["method"])(*call["arguments"])
        reply = {"id": call["id"], "value": value}
    except Exception as error:
        reply = {
            "id": call["id"],
            "error": {
                "kind": type(error).__name__,
                # ConnectError keeps its text to itself.
                "message": str(error) or getattr(error, "message", ""),
                "code": getattr(error, "code", None),
                "status": getattr(error, "status", None),
            },
        }
    print(json.dumps(reply), flush=True)
