// The smallest Express app with a login by verification token.
import express from 'express'
import { verified } from './verification.mjs'

const app = express()
app.post('/login', express.json(), verified('login'), (req, res) => res.json({ phone: req.verified.phone_number }))

const server = app.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`))
