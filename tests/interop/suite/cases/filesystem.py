"""server-filesystem: large results, tools that write, and permissions mapped by `--require`."""

from suite.wire import Wire
from suite.world import FILESYSTEM, SDKS, equal, holds

# The server puts a text into its result twice, and the TypeScript SDKs read no line beyond 10 MiB: this is close to it.
LARGE = 5_000_000
END = "the last 16 byte"  # so that a result cut short is told from a whole one


def files(world):
    def make(folder):
        (folder / "small.txt").write_text("small")
        (folder / "large.txt").write_text("0123456789abcdef" * (LARGE // 16 - 1) + END)
        return folder

    return world.once("files", make)


def gateway(world):
    return world.gateway("filesystem", [*FILESYSTEM, files(world)])


def subset(world, sdk):
    reader = world.agent("file-reader", "tools:read_text_file", "tools:list_*")
    target = files(world) / f"written-through-{SDKS.index(sdk)}"
    tools, small, written = sdk.do(
        gateway(world).connect(reader),
        {"do": "tools"},
        {"do": "call", "name": "read_text_file", "with": {"path": str(files(world) / "small.txt")}},
        {"do": "call", "name": "write_file", "with": {"path": str(target), "content": "x"}})
    equal("tools", tools, {"ok": [
        "list_allowed_directories", "list_directory", "list_directory_with_sizes", "read_text_file"]})
    equal("a read", small, {"ok": "small"})
    equal("a write", written, {"code": -32602, "message": "Unknown tool: write_file"})
    holds("no file came of the denied write", not target.exists())


def large(world, sdk):
    reader = world.agent("file-reader", "tools:read_text_file", "tools:list_*")
    [outcome] = sdk.do(
        gateway(world).connect(reader),
        {"do": "measure", "name": "read_text_file", "with": {"path": str(files(world) / "large.txt")}})
    equal("what arrived", outcome, {"ok": {"length": LARGE, "end": END}})


def large_request(world):
    content, target = "x" * 3_000_000, files(world) / "large-request"
    with Wire(gateway(world).connect(world.agent("file-writer", "tools:write_file"))) as wire:
        wire.initialize()
        written = wire.call("write_file", path=str(target), content=content)
    holds("the write", "result" in written, str(written)[:300])
    holds("every byte of it is in the file", target.read_text() == content)


def require(world, sdk):
    gateway = world.gateway("filesystem-require", [*FILESYSTEM, files(world)], "--require", "read_text_file=files:read")
    read = {"do": "call", "name": "read_text_file", "with": {"path": str(files(world) / "small.txt")}}
    mapped = gateway.connect(world.agent("mapped", "files:read"))
    plain = gateway.connect(world.agent("plain", "tools:read_text_file", "tools:list_directory"))
    equal("with the required permission", sdk.do(mapped, {"do": "tools"}, read), [{"ok": ["read_text_file"]}, {"ok": "small"}])
    equal("with the tool's name only", sdk.do(plain, {"do": "tools"}, read), [
        {"ok": ["list_directory"]}, {"code": -32602, "message": "Unknown tool: read_text_file"}])


def cases(world):
    for sdk in SDKS:
        yield f"filesystem, {sdk.name}: sees and writes only what it may", lambda sdk=sdk: subset(world, sdk)
        yield f"filesystem, {sdk.name}: a result of ten megabytes passes", lambda sdk=sdk: large(world, sdk)
        yield f"filesystem, {sdk.name}: --require maps a tool", lambda sdk=sdk: require(world, sdk)
    yield "filesystem, by hand: a request of three megabytes passes", lambda: large_request(world)
