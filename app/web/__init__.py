"""What people see: the widget, the hosted page, and in the sandbox the demo page and the API's documentation."""

from starlette.applications import Starlette

from app.web.demo import DemoContext, demo_routes
from app.web.hosted import hosted_routes
from app.web.routes import widget_routes

__all__ = ["DemoContext", "mount_web"]


def mount_web(app: Starlette, *, sandbox: DemoContext | None) -> None:
    """Add the pages' routes to the application.

    Args:
        app: the service.
        sandbox: what the demo page needs; None outside the sandbox, where `/` and `/docs` do not exist.
    """
    app.router.routes.extend(widget_routes())
    app.router.routes.extend(hosted_routes())
    if sandbox is not None:
        app.router.routes.extend(demo_routes(sandbox))
