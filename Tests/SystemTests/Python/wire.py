"""Protobuf by hand, as the scripts here need it; nothing shares code with the server."""


def varint(number):
    out = b""
    while True:
        low, number = number & 0x7F, number >> 7
        out += bytes([low | (0x80 if number else 0)])
        if not number:
            return out


def field(number, value):
    """A field of bytes, or of a number, which may be negative."""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value & (1 << 64) - 1)


def read_varint(data, position):
    """The number there, and where it ends."""
    number, shift = 0, 0
    while True:
        byte = data[position]
        position += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number, position


def split_header(answer):
    """The header's fields by number, and what follows the header."""
    size, start = read_varint(answer, 1)
    fields, position = {}, start
    while position < start + size:
        tag, position = read_varint(answer, position)
        fields[tag >> 3], position = read_varint(answer, position)
    return fields, answer[start + size :]
