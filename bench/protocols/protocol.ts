/** What the driver has to know of a server's wire protocol, and no more. */

/** A client of the server under test. */
export interface Member {
  /** Unique in a run. */
  readonly id: string
  readonly room: string
}

export interface Protocol {
  /** Path and query of the upgrade. */
  path (member: Member): string
  /**
   * The way into the room. Called when the socket has opened, and then with every frame until it answers true.
   * @param frame what the server has said; undefined at the opening
   * @param say sends a text frame
   * @returns whether the member is in its room
   */
  enter (member: Member, frame: Buffer | undefined, say: (text: string) => void): boolean
  /** A message for the others of the room, or for the one that a protocol without rooms needs to know. @param payload JSON */
  wrap (payload: string, to: Member): string
  /**
   * Whether the frame is a message of another member; anything else is the server's own.
   * @param say for what the server wants answered
   */
  isMessage (frame: Buffer, say: (text: string) => void): boolean
}
