// A server for the Express app of a page.
import { app } from './verification.mjs'

const server = app.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`))
