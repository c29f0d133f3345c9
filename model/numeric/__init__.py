"""Pure functions and small stateful objects of one numerical topic each; no method, no network, no flags."""
