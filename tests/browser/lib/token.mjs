import { AccessToken } from 'livekit-server-sdk';

export const KEY = process.env.LIVEKIT_API_KEY ?? 'devkey';
export const SECRET = process.env.LIVEKIT_API_SECRET ?? 'secret';

/// An access token for `identity` in `room`, as an application's backend mints it.
export async function mint(identity, room, grant = {}, options = {}) {
  const token = new AccessToken(KEY, SECRET, { identity, ttl: '1h', ...options });
  token.addGrant({ roomJoin: true, room, canUpdateOwnMetadata: true, ...grant });
  return token.toJwt();
}
