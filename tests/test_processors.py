"""How many processors there are."""

import pytest

from scae_zoo.processors import cores, cores_each


@pytest.mark.parametrize(('processes', 'expected'), [
    (None, cores()), ('1', cores()), (str(cores()), 1), ('1000', 1), ('0', cores()), ('', cores()), ('many', cores())])
def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch, processes: str | None, expected: int) -> None:
    monkeypatch.delenv('LOCAL_WORLD_SIZE', raising=False)
    if processes is not None:
        monkeypatch.setenv('LOCAL_WORLD_SIZE', processes)
    assert cores_each() == expected
