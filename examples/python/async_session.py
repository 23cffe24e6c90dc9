"""Many calls to the API at once from one event loop. The settings are the same as in the other examples."""

import asyncio
import sys

from paymentsgate_auth import AsyncSession, AsyncSubscription, PaymentsGateError


async def main() -> None:
    async with AsyncSession.from_env(user_agent="example-python/1.0") as session:
        listener = asyncio.create_task(listen(session.subscribe()))
        paths = [f"/fx/calculation?amount={amount}" for amount in (100, 200, 300)]
        for answer in await asyncio.gather(*(session.request("GET", path, timeout=30) for path in paths)):
            show("fx", f"HTTP {answer.status}  {answer.text}")

        # After the timeout the task is canceled, and the wait with it.
        try:
            token = await asyncio.wait_for(session.token(), 30)
        except asyncio.TimeoutError:
            sys.exit("no token within 30 s")
        show("token", f"{token.fingerprint}  generation {token.generation}")
    await listener


async def listen(subscription: AsyncSubscription) -> None:
    """Prints the events until the session ends."""
    async for event in subscription:
        show("event", f"{event.kind.name.lower()}  {event.error or event.token}")


def show(what: str, text: str) -> None:
    print(f"{what:<7}  {text}")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except PaymentsGateError as error:
        sys.exit(f"{type(error).__name__}: {error}")
