"""What people see: the widget, and in the sandbox the demo page and the API's documentation. Static files and the few routes that serve them."""

from starlette.applications import Starlette

from app.web.demo import DemoContext, demo_routes
from app.web.routes import widget_routes

__all__ = ["DemoContext", "mount_web"]


def mount_web(app: Starlette, *, sandbox: DemoContext | None) -> None:
    """Add the pages' routes to the application.

    Args:
        app: the service.
        sandbox: what the demo page needs; None outside the sandbox, where `/` and `/docs` do not exist.
    """
    app.router.routes.extend(widget_routes())
    if sandbox is not None:
        app.router.routes.extend(demo_routes(sandbox))
