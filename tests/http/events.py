"""One request as each kind of HTTP event, with a key that every door must decode in the same way."""

from __future__ import annotations

from typing import Any

KEY = "a b/ü+%2F?.jpg"
PATH = "/a%20b/%C3%BC+%252F%3F.jpg"
QUERY = "w=200&fm=webp&v=a%2Bb%20c"
FUNCTION_URL: dict[str, Any] = {
    "version": "2.0",
    "routeKey": "$default",
    "rawPath": PATH,
    "rawQueryString": QUERY,
    "headers": {"accept": "image/webp", "host": "abc.lambda-url.eu-west-1.on.aws", "if-none-match": '"x"'},
    "queryStringParameters": {"w": "200", "fm": "webp", "v": "a+b c"},
    "requestContext": {
        "accountId": "anonymous",
        "domainName": "abc.lambda-url.eu-west-1.on.aws",
        "http": {"method": "GET", "path": PATH, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "curl"},
        "requestId": "id",
        "stage": "$default",
    },
    "isBase64Encoded": False,
}
REST: dict[str, Any] = {
    "resource": "/{proxy+}",
    "path": PATH,
    "httpMethod": "GET",
    "headers": {"Accept": "image/webp", "If-None-Match": '"x"'},
    "multiValueHeaders": {"Accept": ["image/webp"], "If-None-Match": ['"x"']},
    "queryStringParameters": {"w": "200", "fm": "webp", "v": "a+b c"},
    "multiValueQueryStringParameters": {"w": ["200"], "fm": ["webp"], "v": ["a+b c"]},
    "requestContext": {"httpMethod": "GET", "stage": "prod", "path": f"/prod{PATH}"},
    "body": None,
    "isBase64Encoded": False,
}
ALB: dict[str, Any] = {
    "requestContext": {
        "elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/x/1"}
    },
    "httpMethod": "GET",
    "path": PATH,
    "queryStringParameters": {"w": "200", "fm": "webp", "v": "a%2Bb%20c"},
    "headers": {"accept": "image/webp", "if-none-match": '"x"'},
    "body": "",
    "isBase64Encoded": False,
}
ALB_SEVERAL: dict[str, Any] = {
    **{name: value for name, value in ALB.items() if name not in ("headers", "queryStringParameters")},
    "multiValueQueryStringParameters": {"w": ["200"], "fm": ["webp"], "v": ["a%2Bb%20c"]},
    "multiValueHeaders": {"accept": ["image/webp"], "if-none-match": ['"x"']},
}
EVENTS = {"function URL": FUNCTION_URL, "REST API": REST, "ALB": ALB, "ALB with several values": ALB_SEVERAL}
