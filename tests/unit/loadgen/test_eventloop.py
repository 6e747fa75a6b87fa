import asyncio
import socket
from collections.abc import Callable

import pytest

from medsweep.loadgen.eventloop import Sender, run


def uvloop_factory() -> asyncio.AbstractEventLoop:
    return pytest.importorskip("uvloop").new_event_loop()


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop_factory])
def test_bytes_leave_before_send_returns_and_in_order(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.setblocking(False)
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
            sender = Sender(transport)
            sender.send(b"first")
            assert theirs.recv(64) == b"first"
            # More than the kernel takes at once: the rest follows, and later bytes after it.
            sent = bytes(range(256)) * 20_000
            sender.send(sent)
            sender.send(b"last")
            came = b""
            while len(came) < len(sent) + 4:
                came += await loop.sock_recv(theirs, 1 << 20)
            assert came == sent + b"last"
            transport.close()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(asyncio.wait_for(main(), 60))


def test_a_broken_connection_is_reported_by_the_transport() -> None:
    lost = []

    class Protocol(asyncio.Protocol):
        def connection_lost(self, error: Exception | None) -> None:
            lost.append(error)

    async def main() -> None:
        ours, theirs = socket.socketpair()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(Protocol, sock=ours)
        sender = Sender(transport)
        theirs.close()
        while not lost:
            sender.send(b"nobody reads this")
            await asyncio.sleep(0.01)

    run(main())
    assert len(lost) == 1
