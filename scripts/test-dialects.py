"""The examples of both inherited dialects; see scripts/test-dialects. Argument: the URL of a bank."""

import sys

import requests

url = sys.argv[1].rstrip("/")
asked = 0


def check(method, path, status, expect, body=None, token=None):
    """Fails unless the response has this status and exactly these keys; `...` stands for any text or number."""
    global asked
    asked += 1
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = requests.request(method, url + path, json=body, headers=headers, timeout=30, allow_redirects=False)
    found = answer.json()
    assert answer.status_code == status, f"{method} {path}: {answer.status_code} {found}"
    assert same(found, expect), f"{method} {path}: {found} is not {expect}"
    return found


def same(found, expect):
    if expect is ...:
        return isinstance(found, (str, int)) and found != ""
    if isinstance(expect, dict):
        return isinstance(found, dict) and found.keys() == expect.keys() and all(same(found[k], expect[k]) for k in expect)
    return found == expect


ada = {"username": "ada", "email": "ada@example.org", "password": "correct horse"}
for slash, name in (("/", "ada"), ("", "bea")):
    user = {**ada, "username": name, "email": f"{name}@example.org"}
    base = "/api/auth"
    check("POST", f"{base}/register{slash}", 201, {"message": "User registered successfully"}, user)
    check("POST", f"{base}/register{slash}", 400,
          {"username": ["This field is required."], "email": ["Enter a valid email address."]},
          {"email": "ada", "password": "correct horse"})
    login = {"username": name, "password": "correct horse"}
    tokens = check("POST", f"{base}/login{slash}", 200, {"refresh": ..., "access": ...}, login)
    check("POST", f"{base}/login{slash}", 401, {"error": "Invalid credentials"}, {**login, "password": "wrong horse"})
    new = check("POST", f"{base}/token/refresh{slash}", 200, {"access": ...}, {"refresh": tokens["refresh"]})
    check("POST", f"{base}/token/refresh{slash}", 401, {"detail": "Token is invalid or expired"}, {"refresh": "x"})
    check("GET", f"{base}/protected{slash}", 200, {"message": "You are authenticated!"}, token=new["access"])
    check("GET", f"{base}/protected{slash}", 401, {"detail": "Authentication credentials were not provided."})

cyd = {"username": "cyd", "email": "cyd@example.org", "password": "correct horse", "confirm_password": "correct horse"}
check("POST", "/register", 201, {"message": "User created successfully", "access_token": ..., "refresh_token": ...}, cyd)
check("POST", "/register", 400, {"message": "Missing required fields"}, {"username": "cyd"})
check("POST", "/register", 400, {"message": "Email already registered. Please try with different email."}, cyd)
check("POST", "/register", 400, {"message": "Passwords do not match"}, {**cyd, "confirm_password": "other horse"})
login = {"email": "cyd@example.org", "password": "correct horse"}
user = {"id": ..., "username": "cyd", "email": "cyd@example.org", "date_created": ...}
answer = {"message": "Login successful", "access_token": ..., "refresh_token": ..., "user": user}
tokens = check("POST", "/login", 200, answer, login)
check("POST", "/login", 400, {"message": "Missing email or password"}, {"email": "cyd@example.org"})
check("POST", "/login", 401, {"message": "Invalid email or password"}, {**login, "password": "wrong horse"})
new = check("POST", "/refresh", 200, {"access_token": ...}, {"refresh_token": tokens["refresh_token"]})
check("POST", "/refresh", 400, {"message": "Missing refresh token"}, {})
check("POST", "/refresh", 401, {"message": "Invalid or expired refresh token"}, {"refresh_token": "x"})
check("GET", "/protected", 200, {"message": "Hello, cyd. This is a protected route."}, token=new["access_token"])
for path in ("/protected", "/users"):
    check("GET", path, 401, {"message": "Token is missing!"})
    check("GET", path, 401, {"message": "Token is invalid or expired!"}, token="x")
users = requests.get(f"{url}/users", headers={"Authorization": f"Bearer {new['access_token']}"}, timeout=30).json()
mine = [user for user in users if user["email"] is not None]
assert [user["username"] for user in mine] == ["cyd"], users
assert all(user.keys() == {"id", "username", "email", "date_created"} for user in users), users
print(f"both dialects answer as documented ({asked + 1} requests)")
