// A certified OpenID provider as an authorization server for one public native client; prints its issuer once it listens.
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

// `strict` as the second argument: pushed requests are required, and a refresh token needs offline access with consent.
const strict = process.argv[3] === 'strict';

const server = createServer((request, response) => handle(request, response));
let handle = (request, response) => response.writeHead(503).end();

server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{
      client_id: 'portico-test',
      application_type: 'native',
      token_endpoint_auth_method: 'none',
      redirect_uris: ['http://127.0.0.1/callback'],
      response_types: ['code'],
      grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
    }],
    features: {
      deviceFlow: { enabled: true },
      revocation: { enabled: true },
      pushedAuthorizationRequests: { enabled: true, requirePushedAuthorizationRequests: strict },
    },
    // Strict: by OpenID Connect Core section 11, which is the provider's own default.
    ...(strict ? {} : { issueRefreshToken: () => true }),
    rotateRefreshToken: true,
    ttl: { AccessToken: Number(process.argv[2] ?? 600), RefreshToken: 3600, Session: 600, Interaction: 600, Grant: 3600, IdToken: 600, DeviceCode: 300 },
    cookies: { keys: ['a test run'] },
  });
  handle = provider.callback();
  console.log(JSON.stringify({ issuer }));
});
