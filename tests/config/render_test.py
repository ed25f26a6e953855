"""The reference of config keys is complete and up to date."""

import pathlib

from absl.testing import absltest

from rnnvae_jax.config import build, render

REPOSITORY = pathlib.Path(render.__file__).parent.parent.parent


class RenderTest(absltest.TestCase):
  def test_the_page_is_what_the_schema_says(self):
    page = REPOSITORY / 'docs' / 'config.md'
    if not page.exists():
      self.skipTest('not in the source tree')
    self.assertEqual(
      page.read_text(encoding='utf-8'),
      render.markdown(),
      'Run python -m rnnvae_jax.config.render > docs/config.md',
    )

  def test_every_key_has_a_row_and_a_line(self):
    page, lines = render.markdown(), render.plain()
    for name, key in build.all_keys().items():
      self.assertIn(f'| `{name}` | `{key.default!r}` |', page)
      self.assertIn(f'\n  {name}=', lines)

  def test_every_key_is_explained_by_a_sentence(self):
    for kind in build.TASKS:
      for name, key in build.schema_for(kind).keys.items():
        self.assertRegex(key.help, r'^\S[^\n]{5,}\.$', name)

  def test_a_row_says_all_that_is_declared(self):
    (row,) = (
      line
      for line in render.markdown().splitlines()
      if line.startswith('| `objective.kl_cycles` |')
    )
    for cell in (
      '`1`',
      'at least 1',
      "`objective.kl_schedule` = 'cyclical'",
      'sentence_vae',
      '**traced**',
    ):
      self.assertIn(cell, row)

  def test_defaults_are_legal(self):
    for kind in build.TASKS:
      build.validate(build.default(kind))


if __name__ == '__main__':
  absltest.main()
