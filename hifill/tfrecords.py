"""Where the records of TFRecord files are, so that they can be read in any order."""

import os

import numpy as np

_HEADER = np.dtype([("length", "<u8"), ("crc", "<u4")])
_FOOTER_SIZE = 4


def record_offsets(path):
    """Finds the records of a TFRecord file; reads their headers only.

    Args:
        path: an uncompressed TFRecord file.

    Returns:
        int64 [N, 2]: offset in the file and length of each record's content, in bytes.

    Raises:
        ValueError: one line naming the file, if it cannot be read, is no TFRecord file, is
            damaged, or ends within a record.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            headers, end, size = _scan(file)
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be read ({error.strerror}); check the path and its permissions"
        ) from error
    wrong = np.flatnonzero(_masked_crc(headers["length"]) != headers["crc"])
    if wrong.size:
        problem = f"damaged in record {wrong[0]}" if wrong[0] else "not a TFRecord file"
        raise ValueError(f"{path}: {problem}; get an intact, uncompressed copy")
    if end != size:
        raise ValueError(
            f"{path}: truncated within record {max(len(headers) - 1, 0)}; get an intact copy"
        )
    lengths = headers["length"].astype(np.int64)
    starts = np.cumsum(lengths + _HEADER.itemsize + _FOOTER_SIZE) - lengths - _FOOTER_SIZE
    return np.stack([starts, lengths], axis=1)


def _scan(file):
    """Follows the lengths from record to record: (headers, end of the last record, file size)."""
    size = os.fstat(file.fileno()).st_size
    if hasattr(os, "posix_fadvise"):
        # Reading ahead would fetch all the photos between the headers.
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
    headers = []
    position = 0
    while position < size:
        file.seek(position)
        header = file.read(_HEADER.itemsize)
        if len(header) < _HEADER.itemsize:
            position = -1
            break
        headers.append(header)
        length = int.from_bytes(header[:8], "little")
        position += _HEADER.itemsize + length + _FOOTER_SIZE
    headers = np.frombuffer(b"".join(headers), _HEADER)
    return headers, position, size


def _masked_crc(lengths):
    """TFRecord's checksum (CRC-32C, masked) of each uint64: uint32, of the same shape."""
    content = np.ascontiguousarray(lengths, "<u8").view(np.uint8).reshape(-1, 8)
    crc = np.full(len(content), 0xFFFFFFFF, np.uint32)
    for column in content.T:
        crc = _CRC_TABLE[(crc ^ column) & 0xFF] ^ (crc >> 8)
    crc = ~crc
    return ((crc >> 15) | (crc << 17)) + np.uint32(0xA282EAD8)


def _crc_table():
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, np.uint32(0x82F63B78), np.uint32(0)) ^ (table >> 1)
    return table


_CRC_TABLE = _crc_table()


def read_record(path, offset, length):
    """Reads one record's content.

    Args:
        path: a TFRecord file.
        offset, length: a row of what `record_offsets` gives.

    Returns:
        bytes.

    Raises:
        ValueError: one line naming the file, if it cannot be read or has become shorter.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            file.seek(offset)
            content = file.read(length)
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be read ({error.strerror}); check the path and its permissions"
        ) from error
    if len(content) != length:
        raise ValueError(f"{path}: has become shorter since it was opened; start again")
    return content
