"""Reads text files of any size in blocks of whole lines."""

from collections.abc import Iterator
import gzip
import os
from typing import NamedTuple

from rnnvae_jax.data import formats

SIZE = 2**24  # Bytes of text, about three million words.
_LONGEST_LINE = 2**28


class Block(NamedTuple):
  """Some consecutive lines of a file."""

  path: str
  number: int
  first: int  # Its first line, counted from 1.
  data: bytes
  ends_with_feeds: bool  # Whether lines of the file end with line feeds.
  position: int  # Bytes of the file that are read, as it is on disk.


def read(path: str, size: int = SIZE) -> Iterator[Block]:
  """Yields a text file, plain or packed by gzip, in blocks of whole lines.

  Args:
    path: of the file.
    size: bytes of a block, but for what its last line needs.

  Raises:
    ValueError: a line has more than 256 MiB, or the file is no intact gzip
      file, or it unpacks to far more than text does.
  """
  packed = os.path.getsize(path)
  with open(path, 'rb') as raw:
    is_packed = path.endswith('.gz') or raw.peek(2)[:2] == b'\x1f\x8b'
    file = gzip.GzipFile(fileobj=raw) if is_packed else raw
    parts: list[bytes] = []  # The beginning of the next block.
    number, first, unpacked, has_feeds = 0, 1, 0, False
    while True:
      try:
        data = file.read(size)
      except formats.PACKING_ERRORS as error:
        raise ValueError(f'{path} is no intact gzip file: {error}.') from error
      unpacked += len(data)
      if is_packed and unpacked > formats.most_unpacked(packed):
        raise ValueError(formats.bomb(path, packed))
      end = data.rfind(b'\n') + 1
      has_feeds = has_feeds or bool(end)
      if data and not end:
        parts.append(data)
        if sum(map(len, parts)) > _LONGEST_LINE:
          raise ValueError(
            f'{path}, line {first}: it has more than {_LONGEST_LINE:,} bytes. '
            'Put one sentence or paragraph on a line.'
          )
        continue
      whole = b''.join([*parts, data[:end]])
      if whole:
        yield Block(path, number, first, whole, has_feeds, raw.tell())
        number += 1
        first += whole.count(b'\n')
      if not data:
        return
      parts = [data[end:]]


def lines(block: Block, as_given: bool = False) -> list[str]:
  """The lines of a block, as `formats.read_lines` reads those of a file."""
  text = formats.decode(block.data, block.path, block.first)
  if not as_given:
    end = '\r\n' if block.ends_with_feeds else '\r'
    text = text.replace(end, '\n')
  return text.removesuffix('\n').split('\n')
