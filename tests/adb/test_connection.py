"""Both ends of the protocol against each other, and the device side against peers that mean harm."""

import asyncio
import base64
import os
import struct

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from adb.echo_device import EchoDevice, serving
from opencph.adb import client, messages
from opencph.adb.messages import CLSE, CNXN, OKAY, OPEN, WRTE


async def _read_message(reader: asyncio.StreamReader) -> tuple[messages.Message, bytes]:
    head = messages.parse_header(await asyncio.wait_for(reader.readexactly(24), 10))
    return head, await reader.readexactly(head.length)


async def _rest(reader: asyncio.StreamReader) -> bytes:
    """What comes until the other side ends the connection, hard or soft."""
    try:
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionResetError:
        return b""


async def _until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


def test_a_handshake_returns_the_banner() -> None:
    async def main() -> None:
        async with serving(EchoDevice()) as port:
            assert await client.handshake("127.0.0.1", port) == "device::ro.product.name=echo;features=shell_v2"

    asyncio.run(main())


def test_a_silent_peer_ends_the_handshake_in_time_and_by_name() -> None:
    async def main() -> None:
        server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(client.AdbError, match=rf"no ADB answer from 127.0.0.1:{port} within 0.2 s"):
            await client.handshake("127.0.0.1", port, 0.2)
        server.close()

    asyncio.run(main())


def test_a_closed_port_and_a_foreign_protocol_are_told_apart() -> None:
    async def main() -> None:
        async def speak_http(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(speak_http, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(client.AdbError, match="does not speak ADB"):
            await client.handshake("127.0.0.1", port)
        server.close()
        await server.wait_closed()
        with pytest.raises(client.AdbError, match="refused"):
            await client.handshake("127.0.0.1", port)

    asyncio.run(main())


def test_bytes_come_back_as_they_went_over_several_streams() -> None:
    async def main() -> None:
        async with serving(EchoDevice()) as port, await client.connect("127.0.0.1", port) as phone:
            sent = [os.urandom(3_000_000 + n) for n in range(3)]

            async def round_trip(data: bytes) -> bytes:
                stream = await phone.open("echo:")
                writing = asyncio.create_task(stream.write(data))
                back = await stream.read_exactly(len(data))
                await writing
                stream.close()
                return back

            assert await asyncio.gather(*map(round_trip, sent)) == sent

    asyncio.run(main())


def test_an_unknown_service_is_refused_and_the_connection_lives_on() -> None:
    async def main() -> None:
        async with serving(EchoDevice()) as port, await client.connect("127.0.0.1", port) as phone:
            with pytest.raises(client.AdbError, match="refuses the service 'jdwp'"):
                await phone.open("jdwp:1")
            assert (await phone.open("echo:")).remote_id

    asyncio.run(main())


def test_a_vanished_client_closes_its_services() -> None:
    async def main() -> None:
        device = EchoDevice()
        async with serving(device) as port:
            phone = await client.connect("127.0.0.1", port)
            await phone.open("echo:")
            await phone.close()
            await _until(lambda: device.services[0].closed and not device.connections)

    asyncio.run(main())


def _key_line(key: RSAPublicKey) -> bytes:
    """The line that adb keeps in adbkey.pub."""
    numbers, radix = key.public_numbers(), 1 << 32
    modulus = numbers.n
    head = struct.pack("<II", 64, radix - pow(modulus % radix, -1, radix))
    square = pow(1 << 2048, 2, modulus)
    body = modulus.to_bytes(256, "little") + square.to_bytes(256, "little") + struct.pack("<I", numbers.e)
    return base64.b64encode(head + body) + b" me@here"


def test_keys_open_a_secured_device_and_strangers_stay_out() -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa

    async def main() -> None:
        mine, other = (rsa.generate_private_key(65537, 2048) for _ in range(2))
        device = EchoDevice([_key_line(mine.public_key())])
        async with serving(device) as port:
            assert await client.handshake("127.0.0.1", port) == "unauthorized"
            async with await client.connect("127.0.0.1", port, key=mine) as phone:
                assert (await phone.open("echo:")).remote_id
            for key in (other, None):
                with pytest.raises(client.AdbError, match="key that it trusts"):
                    await client.connect("127.0.0.1", port, key=key)

    asyncio.run(main())


def test_nothing_is_served_before_the_handshake() -> None:
    async def main() -> None:
        device = EchoDevice([])
        async with serving(device) as port:
            for message in (
                messages.message(OPEN, 1, 0, b"echo:\0"),
                messages.header(WRTE, 1, 1, 1 << 20),
                messages.message(messages.STLS, 0x01000000, 0),
            ):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(message)
                assert await _rest(reader) == b""
                writer.close()
            assert not device.services

    asyncio.run(main())


def test_a_peer_of_version_one_gets_checksums_and_small_messages() -> None:
    async def main() -> None:
        async with serving(EchoDevice()) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(messages.message(CNXN, messages.VERSION_CHECKSUMS, messages.MAX_PAYLOAD_V1, b"host::\0"))
            head, _ = await _read_message(reader)
            assert (head.command, head.arg0) == (CNXN, messages.VERSION_CHECKSUMS)
            writer.write(messages.message(OPEN, 7, 0, b"echo:\0"))
            head, _ = await _read_message(reader)
            assert (head.command, head.arg1) == (OKAY, 7)
            data = os.urandom(4096)
            writer.write(messages.message(WRTE, 7, head.arg0, data))
            head, payload = await _read_message(reader)
            assert (head.command, payload, head.checksum) == (WRTE, data, sum(data))
            writer.write(messages.header(WRTE, 7, head.arg0, 4, 5) + b"oops")  # 5 is not the sum
            assert b"oops" not in await _rest(reader)
            writer.close()

    asyncio.run(main())


def test_messages_for_streams_of_nobody_are_answered_or_ignored() -> None:
    async def main() -> None:
        async with serving(EchoDevice()) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(client.CONNECT)
            await _read_message(reader)
            writer.write(messages.header(OKAY, 9, 9) + messages.header(CLSE, 9, 9) + messages.message(WRTE, 9, 9, b"x"))
            head, _ = await _read_message(reader)
            assert (head.command, head.arg0, head.arg1) == (CLSE, 0, 9)
            writer.write(messages.message(OPEN, 0, 0, b"echo:\0") + messages.message(OPEN, 3, 0, b"\0"))
            head, _ = await _read_message(reader)
            assert (head.command, head.arg1) == (CLSE, 3)
            writer.close()

    asyncio.run(main())


_COMMANDS = st.sampled_from(sorted(messages.COMMANDS))
_IDS = st.integers(0, 3) | st.integers(0, 2**32 - 1)
_MESSAGES = st.builds(messages.message, _COMMANDS, _IDS, _IDS, st.binary(max_size=64) | st.just(b"echo:\0"))


@settings(max_examples=60, deadline=None)
@given(st.lists(_MESSAGES | st.binary(max_size=60), max_size=12))
def test_hostile_frames_never_harm_another_client(frames: list[bytes]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        faults: list[dict[str, object]] = []
        loop.set_exception_handler(lambda _, context: faults.append(context))
        device = EchoDevice()
        async with serving(device) as port:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(client.CONNECT + b"".join(frames))
            writer.write_eof()
            async with await client.connect("127.0.0.1", port) as phone:
                stream = await phone.open("echo:")
                await asyncio.gather(stream.write(b"ping"), stream.read_exactly(4))
            writer.close()
            await _until(lambda: not device.connections)
        assert not faults

    asyncio.run(main())


def test_half_a_header_and_half_a_payload_end_quietly() -> None:
    async def main() -> None:
        device = EchoDevice()
        async with serving(device) as port:
            for half in (b"\1", messages.header(CNXN, messages.VERSION, 1 << 20, 100) + b"x", struct.pack("<I", CNXN)):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(half)
                await writer.drain()
                writer.close()
            await _until(lambda: not device.connections)

    asyncio.run(main())
