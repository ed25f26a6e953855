"""Advice on files that are not UTF-8."""

import unicodedata

# Encodings that can be detected by their alphabets, and iconv's names of them.
# Encodings of Latin letters are left out: detectors confuse them, and a wrong
# conversion garbles the text.
_ICONV = {
  'big5': 'BIG5',
  'big5hkscs': 'BIG5-HKSCS',
  'cp1251': 'CP1251',
  'cp1253': 'CP1253',
  'cp1255': 'CP1255',
  'cp1256': 'CP1256',
  'cp866': 'CP866',
  'cp874': 'CP874',
  'cp932': 'CP932',
  'cp949': 'CP949',
  'euc_jis_2004': 'EUC-JISX0213',
  'euc_jp': 'EUC-JP',
  'euc_kr': 'EUC-KR',
  'gb18030': 'GB18030',
  'gb2312': 'GB2312',
  'gbk': 'GBK',
  'iso8859_5': 'ISO-8859-5',
  'iso8859_6': 'ISO-8859-6',
  'iso8859_7': 'ISO-8859-7',
  'iso8859_8': 'ISO-8859-8',
  'koi8_r': 'KOI8-R',
  'koi8_u': 'KOI8-U',
  'shift_jis': 'SHIFT_JIS',
  'tis_620': 'TIS-620',
}
# Encodings of old computers that detectors confuse with those above.
_RARE = (
  'mac_cyrillic',
  'mac_greek',
  'mac_iceland',
  'mac_latin2',
  'mac_roman',
  'mac_turkish',
)
_SAMPLE = 1 << 15  # Bytes to detect from, which are decoded many times.
_ENOUGH = 20  # Fewest letters beyond ASCII that detection is reliable for.


def conversion(encoding: str) -> str:
  """The command that converts a file."""
  return f'`iconv -f {encoding} -t UTF-8 FILE > NEW_FILE`'


def advice(data: bytes, at: int) -> str:
  """Says how to convert a text to UTF-8.

  Args:
    data: the text.
    at: position of a byte that is not UTF-8.
  """
  text = data.decode(errors='replace')
  wrong = text.count('\N{REPLACEMENT CHARACTER}')
  if sum(not c.isascii() for c in text) > 10 * wrong:
    return (
      'Nearly all the rest of the file is UTF-8, so this line is damaged, or '
      'was pasted from a file in another encoding: mend or remove it.'
    )
  encoding = detected(data, at)
  if encoding:
    return (
      f'The file looks like {encoding}: convert it with {conversion(encoding)}.'
    )
  return (
    'Convert the file from its own encoding, which its source should name, '
    f'with {conversion("ENCODING")}.'
  )


def detected(data: bytes, at: int) -> str:
  """iconv's name of the likely encoding; '' if none is likely enough."""
  import charset_normalizer  # Imported only if needed.

  start = data.rfind(b'\n', 0, at) + 1
  sample = data[start : start + _SAMPLE]
  # Whole lines, so that no character is cut in two.
  whole = sample[: sample.rfind(b'\n') + 1]
  best = charset_normalizer.from_bytes(
    whole or sample, cp_exclusion=list(_RARE)
  ).best()
  if best is None or best.encoding not in _ICONV:
    return ''
  letters = [c for c in str(best) if c.isalpha() and not c.isascii()]
  latin = sum(unicodedata.name(c, '').startswith('LATIN') for c in letters)
  is_clear = len(letters) >= _ENOUGH and latin <= 0.05 * len(letters)
  return _ICONV[best.encoding] if is_clear else ''
