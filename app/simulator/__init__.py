"""The provider's stand-in: answers like Mobilgroup's Call-Password API, misbehaves on request, and rings no phone."""

from app.simulator.app import SimulatorCredentials, create_simulator, run_simulator

__all__ = ["SimulatorCredentials", "create_simulator", "run_simulator"]
