"""`lastdigits policy`."""

import argparse
import asyncio

from app.cli import complain, say
from app.policy_report import measured, policy_report
from app.settings import load_settings


def configure(_: argparse.ArgumentParser) -> None:
    """It has no arguments."""


def run(_: argparse.Namespace) -> int:
    """Print what the settings add up to."""
    settings = load_settings()
    say(policy_report(settings, asyncio.run(measured(settings))).rstrip("\n"))
    for warning in settings.warnings:
        complain(warning)
    return 0
