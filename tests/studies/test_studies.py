"""The public names of the room, which are imported when they are first used."""

import pytest

from gpldan_jax import studies


def test_every_public_name_is_there():
    assert all(callable(getattr(studies, name)) for name in studies.__all__)
    assert sorted(studies.__all__) == sorted(studies._HOMES)
    with pytest.raises(AttributeError, match="no attribute 'tabel'"):
        _ = studies.tabel
