"""The word lists of the ten association tests of Caliskan et al. 2017.

From the supplement of Science 356, 183-186. Names that the authors left out of
tests 3 to 5, since they are rare, are left out here as well. The authors took
the words from Greenwald, McGhee & Schwartz 1998 (tests 1 to 3), Bertrand &
Mullainathan 2004 (the names of 4 and 5), Nosek, Banaji & Greenwald 2002 (6, 7,
10, in 8 of another paper of that year), and Monteith & Pettit 2011 (9).
"""

from typing import NamedTuple


class Words(NamedTuple):
  """A named set of words."""

  name: str
  words: tuple[str, ...]


class Test(NamedTuple):
  """Two sets of target words and two of attribute words.

  Attributes:
    targets: X and Y.
    attributes: A, with which X is expected to go, and B.
  """

  targets: tuple[Words, Words]
  attributes: tuple[Words, Words]


def _words(name: str, text: str) -> Words:
  return Words(name, tuple(text.split()))


_PLEASANT = _words(
  'pleasant',
  'caress freedom health love peace cheer friend heaven loyal pleasure diamond '
  'gentle honest lucky rainbow diploma gift honor miracle sunrise family happy '
  'laughter paradise vacation',
)
_UNPLEASANT = _words(
  'unpleasant',
  'abuse crash filth murder sickness accident death grief poison stink assault '
  'disaster hatred pollute tragedy divorce jail poverty ugly cancer kill '
  'rotten vomit agony prison',
)
# Of the tests of names.
_UNPLEASANT_NAMES = _words(
  'unpleasant',
  'abuse crash filth murder sickness accident death grief poison stink assault '
  'disaster hatred pollute tragedy bomb divorce jail poverty ugly cancer evil '
  'kill rotten vomit',
)
_FEW_PLEASANT = _words(
  'pleasant', 'joy love peace wonderful pleasure friend laughter happy'
)
_FEW_UNPLEASANT = _words(
  'unpleasant', 'agony terrible horrible nasty evil war awful failure'
)
_EUROPEAN = _words(
  'European American names',
  'Brad Brendan Geoffrey Greg Brett Matthew Neil Todd Allison Anne Carrie '
  'Emily Jill Laurie Meredith Sarah',
)
_AFRICAN = _words(
  'African American names',
  'Darnell Hakim Jermaine Kareem Jamal Leroy Rasheed Tyrone Aisha Ebony Keisha '
  'Kenya Lakisha Latoya Tamika Tanisha',
)

TESTS = {
  'flowers_insects': Test(
    (
      _words(
        'flowers',
        'aster clover hyacinth marigold poppy azalea crocus iris orchid rose '
        'bluebell daffodil lilac pansy tulip buttercup daisy lily peony violet '
        'carnation gladiola magnolia petunia zinnia',
      ),
      _words(
        'insects',
        'ant caterpillar flea locust spider bedbug centipede fly maggot '
        'tarantula bee cockroach gnat mosquito termite beetle cricket hornet '
        'moth wasp blackfly dragonfly horsefly roach weevil',
      ),
    ),
    (_PLEASANT, _UNPLEASANT),
  ),
  'instruments_weapons': Test(
    (
      _words(
        'instruments',
        'bagpipe cello guitar lute trombone banjo clarinet harmonica mandolin '
        'trumpet bassoon drum harp oboe tuba bell fiddle harpsichord piano '
        'viola bongo flute horn saxophone violin',
      ),
      _words(
        'weapons',
        'arrow club gun missile spear axe dagger harpoon pistol sword blade '
        'dynamite hatchet rifle tank bomb firearm knife shotgun teargas cannon '
        'grenade mace slingshot whip',
      ),
    ),
    (_PLEASANT, _UNPLEASANT),
  ),
  'names': Test(
    (
      _words(
        'European American names',
        'Adam Harry Josh Roger Alan Frank Justin Ryan Andrew Jack Matthew '
        'Stephen Brad Greg Paul Jonathan Peter Amanda Courtney Heather Melanie '
        'Katie Betsy Kristin Nancy Stephanie Ellen Lauren Colleen Emily Megan '
        'Rachel',
      ),
      _words(
        'African American names',
        'Alonzo Jamel Theo Alphonse Jerome Leroy Torrance Darnell Lamar Lionel '
        'Tyree Deion Lamont Malik Terrence Tyrone Lavon Marcellus Wardell '
        'Nichelle Shereen Ebony Latisha Shaniqua Jasmine Tanisha Tia Lakisha '
        'Latoya Yolanda Malika Yvette',
      ),
    ),
    (_PLEASANT, _UNPLEASANT_NAMES),
  ),
  'names_of_applicants': Test(
    (_EUROPEAN, _AFRICAN), (_PLEASANT, _UNPLEASANT_NAMES)
  ),
  'names_of_applicants_short': Test(
    (_EUROPEAN, _AFRICAN), (_FEW_PLEASANT, _FEW_UNPLEASANT)
  ),
  'career_family': Test(
    (
      _words('male names', 'John Paul Mike Kevin Steve Greg Jeff Bill'),
      _words('female names', 'Amy Joan Lisa Sarah Diana Kate Ann Donna'),
    ),
    (
      _words(
        'career',
        'executive management professional corporation salary office business '
        'career',
      ),
      _words(
        'family',
        'home parents children family cousins marriage wedding relatives',
      ),
    ),
  ),
  'math_arts': Test(
    (
      _words(
        'math',
        'math algebra geometry calculus equations computation numbers addition',
      ),
      _words(
        'arts', 'poetry art dance literature novel symphony drama sculpture'
      ),
    ),
    (
      _words('male terms', 'male man boy brother he him his son'),
      _words('female terms', 'female woman girl sister she her hers daughter'),
    ),
  ),
  'science_arts': Test(
    (
      _words(
        'science',
        'science technology physics chemistry Einstein NASA experiment '
        'astronomy',
      ),
      _words(
        'arts', 'poetry art Shakespeare dance literature novel symphony drama'
      ),
    ),
    (
      _words('male terms', 'brother father uncle grandfather son he his him'),
      _words(
        'female terms', 'sister mother aunt grandmother daughter she hers her'
      ),
    ),
  ),
  'mental_physical_disease': Test(
    (
      _words(
        'mental disease', 'sad hopeless gloomy tearful miserable depressed'
      ),
      _words('physical disease', 'sick illness influenza disease virus cancer'),
    ),
    (
      _words(
        'temporary',
        'impermanent unstable variable fleeting short-term brief occasional',
      ),
      _words(
        'permanent',
        'stable always constant persistent chronic prolonged forever',
      ),
    ),
  ),
  'young_old': Test(
    (
      _words(
        "young people's names",
        'Tiffany Michelle Cindy Kristy Brad Eric Joey Billy',
      ),
      _words(
        "old people's names",
        'Ethel Bernice Gertrude Agnes Cecil Wilbert Mortimer Edgar',
      ),
    ),
    (_FEW_PLEASANT, _FEW_UNPLEASANT),
  ),
}
