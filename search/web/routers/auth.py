"""Routes about who is here and what this server offers."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from search.web import accounts
from search.web.dependencies import Service, TheService
from search.web.errors import Refused
from search.web.models import Session, errors

router = APIRouter(prefix="/v1", tags=["accounts"])


class Credentials(BaseModel):
    """A name and its password."""

    name: str = Field(max_length=200)
    password: str = Field(max_length=1000)


@router.get("/session", responses={200: {"model": Session}, **errors()})
async def session(request: Request, service: TheService) -> Response:
    """Who is signed in, and what is turned on."""
    return await _state(service, accounts.secret_of(request))


@router.post("/session", responses={200: {"model": Session}, **errors(401, 403)})
async def sign_in(body: Credentials, request: Request, service: TheService) -> Response:
    """Sign in: sets a cookie that only this site's own pages send."""
    _offered(service)
    _, secret = await service.store.run(
        lambda: accounts.sign_in(service.store, body.name, body.password)
    )
    response = await _state(service, secret)
    accounts.give_cookie(response, request, secret)
    return response


@router.delete("/session", responses={200: {"model": Session}, **errors()})
async def sign_out(request: Request, service: TheService) -> Response:
    """Sign out."""
    secret = accounts.secret_of(request)
    if secret and service.layout.web.exists():
        await service.store.run(lambda: accounts.sign_out(service.store, secret))
    response = await _state(service, None)
    accounts.give_cookie(response, request, None)
    return response


@router.post("/accounts", responses={200: {"model": Session}, **errors(403, 409, 507)})
async def register(body: Credentials, request: Request, service: TheService) -> Response:
    """Make an account, where anybody may."""
    _offered(service)
    if service.settings.web.accounts != "open":
        raise Refused(
            403, "invited", "accounts are made by whoever runs this server",
            "toonsearch serve --add-account NAME",
        )  # fmt: skip
    await service.store.run(
        lambda: accounts.create_account(service.store, body.name, body.password)
    )
    return await sign_in(body, request, service)


def _offered(service: Service) -> None:
    if service.settings.web.accounts == "off":
        raise Refused(403, "off", "this server keeps no accounts")


async def _state(service: Service, secret: str | None) -> Response:
    web = service.settings.web
    account = None
    if secret and web.accounts != "off":
        account = await service.store.run(lambda: accounts.account_of(service.store, secret))
    return JSONResponse(
        {
            "account": account.name if account else None,
            "accounts": web.accounts,
            "share_days": web.share_days,
            "url_queries": web.url_queries == "on",
            "sql": web.sql == "on",
        }
    )
