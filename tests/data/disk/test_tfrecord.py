"""TFRecord files of another writer: read whole or one record at a time, and damage to lengths found."""

import itertools

import pytest
from tensorboardX.record_writer import RecordWriter

from effnet_jax.data.disk import tfrecord

RECORDS = [b"", b"one", b"x" * 300, bytes(range(256))]


@pytest.fixture
def path(tmp_path):
    writer = RecordWriter(str(tmp_path / "a.tfrecord"))
    for record in RECORDS:
        writer.write(record)
    writer.close()
    return tmp_path / "a.tfrecord"


def test_the_checksum_is_the_published_one():
    crc = 0xE3069283  # of "123456789", the check value of CRC-32C
    assert tfrecord.masked_crc32c(b"123456789") == (((crc >> 15) | (crc << 17)) + 0xA282EAD8) % 2**32


def test_every_record_is_found_again(path):
    found = list(tfrecord.records(path.read_bytes()))
    assert [record for _, record in found] == RECORDS
    assert [tfrecord.read_at(path, position) for position, _ in found] == RECORDS
    copy = path.with_name("b.tfrecord")
    copy.write_bytes(path.read_bytes())
    both, size = tfrecord.Files([path, copy]), path.stat().st_size
    for start, (position, record) in itertools.product((0, size), found):
        assert both[start + position] == record


def test_damaged_lengths_and_cut_files(path):
    content = path.read_bytes()
    positions = [position for position, _ in tfrecord.records(content)]
    for position, byte in itertools.product(positions, range(12)):
        damaged = bytearray(content)
        damaged[position + byte] ^= 0x40
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="checksum of a record's length"):
            list(tfrecord.records(bytes(damaged)))
        with pytest.raises(ValueError, match="checksum of a record's length"):
            tfrecord.read_at(path, position)
    for size in set(range(len(content))) - {*positions, len(content)}:
        with pytest.raises(ValueError, match="cut off"):
            list(tfrecord.records(content[:size]))
    path.write_bytes(content[:-1])
    with pytest.raises(ValueError, match="cut off"):
        tfrecord.read_at(path, positions[-1])
