// The smallest Express app with a login by proof.
import express from 'express'
import { verified } from './proof.mjs'

const app = express()
app.post('/login', express.json(), verified('login'), (req, res) => res.json({ phone: req.proof.phone_number }))

const server = app.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`))
