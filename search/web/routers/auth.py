"""Routes about who is here and what this server offers.

A session is 256 random bits in an HttpOnly cookie that no other site can send along
(SameSite=Strict).
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from search.web.db import SESSION_S
from search.web.dependencies import COOKIE, AccountsOffered, Secret, Service, ServiceDependency
from search.web.errors import ApiError
from search.web.models import Credentials, SessionState, errors

router = APIRouter(prefix="/v1", tags=["accounts"])


@router.get("/session", response_model=SessionState, responses=errors())
async def session(service: ServiceDependency, secret: Secret = None) -> dict[str, Any]:
    """Who is signed in, and what is turned on."""
    return await _state(service, secret)


@router.post(
    "/session",
    response_model=SessionState,
    responses=errors(401, 403, 507),
    dependencies=[AccountsOffered],
)
async def sign_in(
    body: Credentials, request: Request, response: Response, service: ServiceDependency
) -> dict[str, Any]:
    """Sign in: sets a cookie that only this site's own pages send."""
    secret = await service.store.run(service.store.sign_in, body.name, body.password)
    path = request.app.state.root_path or "/"
    secure = request.url.scheme == "https"
    response.set_cookie(
        COOKIE,
        secret,
        max_age=SESSION_S,
        path=path,
        httponly=True,
        samesite="strict",
        secure=secure,
    )
    return await _state(service, secret)


@router.delete("/session", response_model=SessionState, responses=errors(507))
async def sign_out(
    request: Request, response: Response, service: ServiceDependency, secret: Secret = None
) -> dict[str, Any]:
    """Sign out."""
    if secret:
        await service.store.run(service.store.sign_out, secret)
    path = request.app.state.root_path or "/"
    response.delete_cookie(COOKIE, path=path, httponly=True, samesite="strict")
    return await _state(service, None)


@router.post(
    "/accounts",
    response_model=SessionState,
    responses=errors(403, 409, 507),
    dependencies=[AccountsOffered],
)
async def register(
    body: Credentials, request: Request, response: Response, service: ServiceDependency
) -> dict[str, Any]:
    """Make an account, where anybody may."""
    if service.settings.web.accounts != "open":
        message = "accounts are made by whoever runs this server"
        raise ApiError(403, "invited", message, "toonsearch serve --add-account NAME")
    await service.store.run(service.store.create_account, body.name, body.password)
    return await sign_in(body, request, response, service)


async def _state(service: Service, secret: str | None) -> dict[str, Any]:
    web = service.settings.web
    account = None
    if web.accounts != "off":
        account = await service.store.run(service.store.account_of, secret)
    return {
        "account": account.name if account else None,
        "accounts": web.accounts,
        "share_days": web.share_days,
        "url_queries": web.url_queries == "on",
        "sql": web.sql == "on",
    }
