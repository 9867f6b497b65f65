"""How pip builds the controller: only in place, in its checkout.

The controller works with more than its Python modules: apps, Terraform modules, Ansible roles and flavors lie beside them, are
edited there by administrators, and their contents decide which template a cloud needs. A wheel without them would install and
then fail at its first machine, so none is built; `pip install -e .`, as in scripts/setup.sh, is left to setuptools.
"""

import sys
from collections.abc import Mapping
from typing import NoReturn

from setuptools.build_meta import (
    build_editable,
    get_requires_for_build_editable,
    prepare_metadata_for_build_editable,
)

__all__ = ["build_editable", "get_requires_for_build_editable", "prepare_metadata_for_build_editable"]

REFUSAL = (
    "Cumulus's controller runs from its checkout: run scripts/setup.sh run there, or pip install -e . "
    "(for the agent alone: pip install ./agent)"
)


def get_requires_for_build_wheel(settings: Mapping[str, object] | None = None) -> NoReturn:  # noqa: ARG001
    """End the build of a wheel before it begins."""
    sys.exit(REFUSAL)


def build_wheel(folder: str, settings: Mapping[str, object] | None = None, metadata: str | None = None) -> NoReturn:  # noqa: ARG001
    """End the build of a wheel."""
    sys.exit(REFUSAL)


def build_sdist(folder: str, settings: Mapping[str, object] | None = None) -> NoReturn:  # noqa: ARG001
    """End the build of a source archive, which would be the same without a checkout."""
    sys.exit(REFUSAL)
