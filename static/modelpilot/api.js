// Calls of the API as the person who is signed in.

const token = () => document.querySelector('meta[name="csrf-token"]').content;

export class ApiError extends Error {
  constructor(status, error) {
    super(error.message);
    this.status = status;
    this.code = error.code;
    this.param = error.param;
    // What the envelope says besides, such as a job's id and cost.
    this.detail = error;
  }
}

// The answer, whatever its type; raises ApiError with the envelope's sentence.
export async function request(path, { method = "GET", body, headers = {}, signal } = {}) {
  const json = body !== undefined && !(body instanceof FormData);
  const response = await fetch(`/api/v1/${path}`, {
    method,
    signal,
    headers: { "X-CSRFToken": token(), ...(json && { "Content-Type": "application/json" }), ...headers },
    body: json ? JSON.stringify(body) : body,
  });
  if (response.ok) return response;
  const answer = await response.json().catch(() => ({}));
  throw new ApiError(response.status, answer.error ?? { message: `The server answered ${response.status}.` });
}

export const call = async (path, options) => (await request(path, options)).json();
