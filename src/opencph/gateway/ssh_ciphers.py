"""The AEAD ciphers of SSH, packet by packet and in place, for `ssh_lane`. Key exchange and every other cipher are asyncssh's.

asyncssh makes each cipher at a key exchange; `sealer` and `opener` take its keys over and stand in its place, so that packets
that asyncssh sends or reads itself and those of the lane are counted by one counter.
"""

from __future__ import annotations

from typing import Protocol

from asyncssh.encryption import ChachaEncryption, Encryption, GCMEncryption
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.poly1305 import Poly1305

#: Of the authentication tag, with every cipher here.
TAG_BYTES = 16
_ZEROS = bytes(64)
_KEY_BYTES = 32  # ChaCha20's and Poly1305's


class BadPacketError(Exception):
    """The packet was changed on its way, or is not of this connection."""


class PacketCipher(Protocol):
    """One direction of a connection."""

    block: int  # the packet without its length field is a multiple of this, in bytes

    def seal(self, seq: int, packet: memoryview, out: memoryview) -> None:
        """`packet` is length field and plain rest; `out` gets it encrypted, and the tag behind it."""
        ...

    def length(self, seq: int, packet: memoryview) -> int:
        """What the length field at the beginning says: bytes between it and the tag."""
        ...

    def open(self, seq: int, packet: memoryview, out: memoryview) -> None:
        """`packet` is all of it with the tag; `out` gets what lies between. Raises BadPacketError."""
        ...


class Gcm:
    """aes128-gcm@openssh.com and aes256-gcm@openssh.com (RFC 5647): the length is in the clear, the nonce counts by itself."""

    block = 16

    def __init__(self, key: bytes, nonce: bytes) -> None:
        self._aead = AESGCM(key)
        self._fixed = nonce[:4]
        self._counter = int.from_bytes(nonce[4:], "big")

    def _nonce(self) -> bytes:
        counter = self._counter
        self._counter = (counter + 1) & 0xFFFF_FFFF_FFFF_FFFF
        return self._fixed + counter.to_bytes(8, "big")

    def seal(self, seq: int, packet: memoryview, out: memoryview) -> None:
        head = packet[:4]
        out[:4] = head
        self._aead.encrypt_into(self._nonce(), packet[4:], head, out[4:])

    def length(self, seq: int, packet: memoryview) -> int:
        return int.from_bytes(packet[:4], "big")

    def open(self, seq: int, packet: memoryview, out: memoryview) -> None:
        try:
            self._aead.decrypt_into(self._nonce(), packet[4:], packet[:4], out)
        except InvalidTag:
            raise BadPacketError from None


class Chacha:
    """chacha20-poly1305@openssh.com (PROTOCOL.chacha20poly1305): two keys, one of them for the length; the nonce is `seq`."""

    block = 8

    def __init__(self, key: bytes) -> None:
        self._main = Cipher(ChaCha20(key[:_KEY_BYTES], bytes(16)), mode=None).encryptor()
        self._head = Cipher(ChaCha20(key[_KEY_BYTES:], bytes(16)), mode=None).encryptor()
        self._first = bytearray(64)  # block 0 of the key stream: the key of the tag
        self._length = bytearray(4)

    def _begin(self, seq: int) -> bytes:
        """Set the main stream to its block 1; returns the key of the tag."""
        self._main.reset_nonce(bytes(8) + seq.to_bytes(8, "big"))
        self._main.update_into(_ZEROS, self._first)
        return bytes(self._first[:_KEY_BYTES])

    def seal(self, seq: int, packet: memoryview, out: memoryview) -> None:
        key, size = self._begin(seq), len(packet)
        self._head.reset_nonce(bytes(8) + seq.to_bytes(8, "big"))
        self._head.update_into(packet[:4], out[:4])
        self._main.update_into(packet[4:], out[4:size])
        out[size : size + TAG_BYTES] = Poly1305.generate_tag(key, out[:size])

    def length(self, seq: int, packet: memoryview) -> int:
        self._head.reset_nonce(bytes(8) + seq.to_bytes(8, "big"))
        self._head.update_into(packet[:4], self._length)
        return int.from_bytes(self._length, "big")

    def open(self, seq: int, packet: memoryview, out: memoryview) -> None:
        end = len(packet) - TAG_BYTES
        try:
            Poly1305.verify_tag(self._begin(seq), packet[:end], bytes(packet[end:]))
        except InvalidSignature:
            raise BadPacketError from None
        self._main.update_into(packet[4:end], out)


class Taken(Encryption):
    """Stands where asyncssh had its own cipher; `cipher` is what the lane uses."""

    def __init__(self, cipher: PacketCipher) -> None:
        self.cipher = cipher
        self._opened: bytes | None = None

    def put_back(self, plain: bytes) -> None:
        """A packet that the lane has opened already: asyncssh is about to read it."""
        self._opened = plain

    def encrypt_packet(self, seq: int, header: bytes, packet: bytes) -> tuple[bytes, bytes]:
        whole = header + packet
        out = bytearray(len(whole) + TAG_BYTES)
        self.cipher.seal(seq, memoryview(whole), memoryview(out))
        return bytes(out), b""

    def decrypt_header(self, seq: int, first_block: bytes, header_len: int) -> tuple[bytes, bytes]:
        return first_block, self.cipher.length(seq, memoryview(first_block)).to_bytes(4, "big")

    def decrypt_packet(self, seq: int, first: bytes, rest: bytes, header_len: int, mac: bytes) -> bytes | None:
        if self._opened is not None:
            plain, self._opened = self._opened, None
            return plain
        whole = first + rest + mac
        out = bytearray(len(whole) - header_len - TAG_BYTES)
        try:
            self.cipher.open(seq, memoryview(whole), memoryview(out))
        except BadPacketError:
            return None
        return bytes(out)


def take(encryption: Encryption | None) -> Encryption | None:
    """What stands for this cipher of asyncssh from now on: a `Taken` when it is one of ours, else itself."""
    if isinstance(encryption, GCMEncryption):
        gcm = encryption._cipher
        return Taken(Gcm(gcm._key, gcm._iv))
    if isinstance(encryption, ChachaEncryption):
        chacha = encryption._cipher
        return Taken(Chacha(chacha._key + chacha._adkey))
    return encryption
